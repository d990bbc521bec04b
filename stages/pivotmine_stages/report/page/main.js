// @ts-check
// Comparison with other profiles, the keyboard, and the start.
/// <reference path="dom.js" />
/// <reference path="browser.js" />
/// <reference path="charts.js" />

/** @type {Data|null} */
let compared = null;

function drawCompare() {
  if (!DATA.others.length) return show(byId("compare"), el("p", { class: "note" }, "This run has one profile. Another policy, verifier or round appears here once it is scored."));
  const pick = el("select", { id: "other", on: { change: (/** @type {Event} */ event) => draw(/** @type {HTMLSelectElement} */ (event.target).value) } }, DATA.others.map((/** @type {Data} */ other) => el("option", { value: other.name }, `${other.name} (${other.words})`)));
  const place = el("div", { id: "transitions" });
  const draw = (/** @type {string} */ name) => {
    compared = DATA.others.find((/** @type {Data} */ other) => other.name === name) || null;
    if (!compared) return;
    const rows = compared.transitions.map((/** @type {Data} */ one) => [el("span", { class: `class ${one.from}` }, one.from), el("span", { class: `class ${one.to}` }, one.to), count(one.states), `${(100 * one.share).toFixed(1)} %`, `${(100 * one.low).toFixed(1)} to ${(100 * one.high).toFixed(1)} %`, one.examples.map((/** @type {string} */ id) => [stateLink(id), " "])]);
    show(place, el("p", {}, `${count(compared.shared)} states in both; mean reward ${fixed(compared.mean, 3)} here (${percent(compared.decided)} decided) and ${fixed(compared.other_mean, 3)} there (${percent(compared.other_decided)} decided).`), table(["here", "there", { number: "states" }, { number: "share of here" }, { number: "95 % interval" }, "look"], rows));
    openFromAddress();
  };
  show(byId("compare"), el("h3", {}, "Profiles"), el("label", { for: "other" }, "this profile against "), pick, place);
  draw(DATA.others[0].name);
}

/** The samples of the compared profile in the same state. @param {string} id @param {Data|null} gold */
function comparedSamples(id, gold) {
  if (!compared) return null;
  const name = compared.name, place = el("div", {});
  source.samples(id, name).then((/** @type {Data[]} */ groups) => show(place, el("h3", {}, `The same state under ${name}`), groups.length ? groupBoxes(groups, gold) : el("p", { class: "note" }, "It has no samples there.")));
  return place;
}

/** @param {number} step */
function move(step) {
  const place = listed.indexOf(opened);
  const next = listed[place < 0 ? 0 : place + step];
  if (next) go(next);
}

document.addEventListener("keydown", (event) => {
  const target = /** @type {HTMLElement} */ (event.target);
  if (event.key === "Escape") { target.blur(); history.replaceState(null, "", location.pathname + location.search); openFromAddress(); return; }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "/") { event.preventDefault(); /** @type {HTMLInputElement} */ (document.querySelector("input[name=text]")).focus(); }
  if (event.key === "j") move(1);
  if (event.key === "k") move(-1);
});
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});
byId("previous").addEventListener("click", () => { page -= 1; drawList(); });
byId("next").addEventListener("click", () => { page += 1; drawList(); });
byId("filters").addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", openFromAddress);

drawFunnel();
drawCharts();
drawSuspects();
drawFilters();
drawCompare();
drawSelections();
drawList().then(openFromAddress);
