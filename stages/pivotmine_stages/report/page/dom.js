// @ts-check
// Building blocks. Text from trajectories and models only ever becomes text nodes: nothing here parses markup.

/** @typedef {Record<string, any>} Data */
/** @type {Data} */
const DATA = JSON.parse(/** @type {HTMLElement} */ (document.getElementById("data")).textContent || "{}");
const CLASSES = ["never", "sometimes", "always", "undecided", "constant", "unscored"];

/** @param {string} id @returns {HTMLElement} */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/**
 * An element with attributes (`on` holds listeners) and children.
 * @param {string} tag @param {Data} [attributes] @param {...any} children @returns {HTMLElement}
 */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

/** @param {string} tag @param {Data} [attributes] @param {...any} children @returns {SVGElement} */
function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(element, attributes, children);
  return element;
}

/** @param {Element} element @param {Data} attributes @param {any[]} children */
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(9)) if (child !== null && child !== undefined && child !== "") element.append(child instanceof Node ? child : String(child));
}

/** @param {Element} element @param {...any} children */
function show(element, ...children) {
  element.replaceChildren();
  fill(element, {}, children);
}

/** @param {number|null|undefined} value @param {number} digits */
const fixed = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
/** @param {number|null|undefined} value */
const count = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en"));
/** @param {number|null|undefined} share */
const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(100 * share)} %`);
/** @param {string} kind */
const swatch = (kind) => el("span", { class: `swatch ${kind}`, "aria-hidden": "true" });

/** @param {(string|{number: string})[]} head @param {any[][]} rows */
function table(head, rows) {
  const cells = head.map((name) => (typeof name === "string" ? el("th", { scope: "col" }, name) : el("th", { scope: "col", class: "number" }, name.number)));
  const body = rows.map((row) => el("tr", {}, row.map((cell, i) => el("td", { class: typeof head[i] === "string" ? null : "number" }, cell))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table" }, el("table", {}, el("thead", {}, el("tr", {}, cells)), el("tbody", {}, body)));
}

/** The first parts, and the rest behind a click. @param {any[]} parts @param {number} most @param {(parts: any[]) => any} drawn */
const folded = (parts, most, drawn) => (parts.length <= most ? drawn(parts) : [drawn(parts.slice(0, most)), el("details", {}, el("summary", {}, `${parts.length - most} more`), drawn(parts.slice(most)))]);

/** A link that opens a state. @param {string} id @param {any} [text] */
const stateLink = (id, text) => el("a", { href: `#state=${encodeURIComponent(id)}`, class: "idlink mono" }, text || id.slice(0, 10));
