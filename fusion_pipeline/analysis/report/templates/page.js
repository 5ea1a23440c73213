"use strict";
// The image browser: filters, keys, and the details of one image. What it knows is in #records; names go into the page
// as text only, each in a <bdi> of its own.
(() => {
  const source = document.getElementById("records");
  if (!source) return;
  const known = JSON.parse(source.textContent);
  const items = [...document.getElementById("cards").children];
  const buttons = items.map((item) => item.firstElementChild);
  const form = document.getElementById("filters");
  const count = document.getElementById("count");
  const details = document.getElementById("details");
  const more = document.getElementById("more");
  const STEP = 120;
  let limit = STEP;
  const field = (id) => document.getElementById(id)?.value ?? "";

  const texts = known.ids.map((id, i) => {
    const said = known.voices[0].said[i];
    return [id, known.classes[known.labels[i]], known.classes[said]].join("\n").toLowerCase();
  });

  function wanted() {
    const outcome = Number(field("show"));
    const label = field("class");
    const trusted = field("trusted");
    const words = field("search").toLowerCase().split(/\s+/).filter(Boolean);
    return (i) =>
      (!outcome || known.outcomes[i] & outcome) &&
      (label === "" || known.labels[i] === Number(label)) &&
      (trusted === "" || known.trusted[i] === Number(trusted)) &&
      words.every((word) => texts[i].includes(word));
  }

  function visible() {
    return buttons.filter((_, i) => !items[i].hidden);
  }

  function filter() {
    const matching = items.map((_, i) => i).filter(wanted());
    const shown = new Set(matching.slice(0, limit));
    items.forEach((item, i) => { item.hidden = !shown.has(i); });
    const left = matching.length - shown.size;
    count.textContent = `${number(matching.length)} of ${number(items.length)} images match` +
      (left ? `, the first ${number(shown.size)} are shown.` : ".");
    more.hidden = !left;
    more.textContent = `Show ${number(Math.min(left, STEP))} more`;
    reach(visible()[0]);
  }

  function showMore() {
    const next = visible().length;
    limit += STEP;
    filter();
    reach(visible()[next]);
    visible()[next].focus();
  }

  // One image at a time can be reached with Tab, the others with arrow keys.
  function reach(button) {
    buttons.forEach((each) => { each.tabIndex = each === button ? 0 : -1; });
  }

  function columns(shown) {
    const height = (button) => button.getBoundingClientRect().top;
    const next = shown.findIndex((button) => height(button) > height(shown[0]) + 1);
    return next < 0 ? shown.length : next;
  }

  function move(event) {
    const shown = visible();
    const here = shown.indexOf(event.target.closest(".card"));
    if (here < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(shown), ArrowUp: -columns(shown) };
    const ends = { Home: 0, End: shown.length - 1 };
    const next = event.key in ends ? ends[event.key] : here + (steps[event.key] ?? 0);
    if (next === here || !(next in shown)) return;
    event.preventDefault();
    reach(shown[next]);
    shown[next].focus();
  }

  function element(name, content, attributes = {}) {
    const made = document.createElement(name);
    made.append(...[content].flat());
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    return made;
  }

  const isolated = (name) => element("bdi", name);
  const number = (n) => n.toLocaleString("en");
  const percent = (perMille) => `${(perMille / 10).toFixed(1)} %`;

  function line(voice, i) {
    const colour = known.coloured.indexOf(voice.name);
    const expert = known.weighted.indexOf(colour);
    const weight = known.weights && expert >= 0 ? known.weights[i][expert] : null;
    const mark = voice.said[i] === known.labels[i] ? "✓ " : "✗ ";
    const cells = [
      element("th", colour < 0 ? isolated(voice.name) : [swatch(colour), isolated(voice.name)], { scope: "row" }),
      element("td", [mark, isolated(known.classes[voice.said[i]])]),
      element("td", percent(voice.sure[i]), { class: "number" }),
    ];
    if (known.weights) cells.push(element("td", weight === null ? "" : (weight / 1000).toFixed(2), { class: "number" }));
    return element("tr", cells);
  }

  const swatch = (colour) => element("span", "", { class: `swatch c${colour}` });

  function show(i) {
    const titles = ["Who", "says", "with probability", ...(known.weights ? ["gate weight"] : [])];
    const head = element("thead", element("tr", titles.map((title, n) => element("th", title, { scope: "col", ...(n > 1 && { class: "number" }) }))));
    const body = element("tbody", known.voices.map((voice) => line(voice, i)));
    const close = element("button", "Close", { type: "button", autofocus: "" });
    close.addEventListener("click", () => details.close());
    details.replaceChildren(
      buttons[i].querySelector("img").cloneNode(),
      element("h3", isolated(known.ids[i])),
      element("p", ["Labelled ", isolated(known.classes[known.labels[i]]), "."]),
      element("table", [element("caption", "What was said of it, by classifiers that were fitted without it"), head, body]),
      close,
    );
    details.showModal();
  }

  form.hidden = false;
  document.getElementById("keys").hidden = false;
  form.addEventListener("input", () => { limit = STEP; filter(); });
  more.addEventListener("click", showMore);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => { limit = STEP; setTimeout(filter); });
  buttons.forEach((button, i) => {
    button.setAttribute("aria-haspopup", "dialog");
    button.addEventListener("click", () => { reach(button); show(i); });
    button.addEventListener("keydown", move);
  });
  filter();
})();
