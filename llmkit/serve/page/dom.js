// Creates DOM nodes from text. No code of this page parses a string as HTML, and its content security policy forbids it.

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  send: "M4 12h15M13 6l6 6-6 6",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v11H9zM5 15V4h10",
  up: "M7 11v9H4v-9zM7 11l4-8c1.7 0 2.6 1.2 2.3 2.8L12.700 9.500H19c1.300 0 2.200 1.200 1.900 2.400l-1.500 6.300c-.2.9-1 1.800-2 1.800H7",
  down: "M17 13V4h3v9zM17 13l-4 8c-1.7 0-2.6-1.2-2.3-2.800l.6-3.700H5c-1.300 0-2.200-1.200-1.900-2.400l1.500-6.300c.2-.9 1-1.800 2-1.800H17",
  retry: "M4 11a8 8 0 0 1 14-4.500L20 9M20 4v5h-5M20 13a8 8 0 0 1-14 4.500L4 15M4 20v-5h5",
  why: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM9.500 9.500a2.500 2.500 0 1 1 3.600 2.200c-.7.4-1.100.9-1.100 1.800M12 16.800v.1",
  close: "M6 6l12 12M18 6L6 18",
  menu: "M4 7h16M4 12h16M4 17h16",
  bin: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  theme: "M12 3a9 9 0 1 0 9 9c-5 2-9-3-9-9z",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  plus: "M12 5v14M5 12h14",
};

export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") node.className = value;
    else if (name === "on") for (const [kind, act] of Object.entries(value)) node.addEventListener(kind, act);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

export const button = (name, label, act, more = {}) =>
  el("button", { type: "button", class: "plain", title: label, "aria-label": label, on: { click: act }, ...more }, icon(name));

// A button that acts at the second click only.
export function confirmButton(name, label, act) {
  const node = button(name, label, () => {
    if (node.dataset.sure === "yes") { act(); return; }
    const setState = (sure, text) => { node.dataset.sure = sure; node.title = text; node.setAttribute("aria-label", text); };
    setState("yes", `Really? ${label}`);
    say(`Really? ${label}: press again`);
    setTimeout(() => setState("", label), 4000);
  });
  return node;
}

export const byId = (id) => document.getElementById(id);

export function say(text) {
  byId("status").textContent = text;
}

export const shortName = (name) => name.slice(name.lastIndexOf("/") + 1) || name;

export function milliseconds(seconds) {
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}
