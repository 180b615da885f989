// Live updates: the server says that something changed, and the page asks for itself once more.
import { showTimes } from "./times.js";
import { dirty } from "./forms.js";

let busy = false;
let again = false;

// The address of what is shown: after a form that was refused, it is not that of the page.
function self() {
  const own = document.body.dataset.self;
  return !own || location.pathname === own ? location.pathname + location.search : own;
}

export function say(text, reload = false) {
  const place = document.getElementById("said");
  place.textContent = text;
  if (!reload) { setTimeout(() => { if (place.textContent === text) place.textContent = ""; }, 4000); return; }
  const button = document.createElement("button");
  button.textContent = "Show it";
  button.addEventListener("click", () => location.assign(self().replace(/[?&]done=\w+/, "")));
  place.append(button);
}

function keepOpen(old, fresh) {
  const titles = new Set([...old.querySelectorAll("details[open] > summary")].map((one) => one.textContent));
  for (const one of fresh.querySelectorAll("details")) {
    if (titles.has(one.querySelector("summary")?.textContent)) one.open = true;
  }
}

function markFresh(old, fresh) {
  const known = new Set([...old.querySelectorAll("[data-row]")].map((one) => one.id));
  if (!known.size) return 0;
  const rows = [...fresh.querySelectorAll("[data-row]")].filter((one) => !known.has(one.id));
  for (const row of rows) {
    row.classList.add("fresh");
    setTimeout(() => row.classList.remove("fresh"), 6000);
  }
  return rows.length;
}

// What somebody stands on, found again among new elements: his keys must not lead nowhere.
function mien(one) {
  const { tagName, id, name, form } = one;
  return [tagName, id, name, one.getAttribute("href"), form?.getAttribute("action"), one.textContent.trim()].join("|");
}

function swap(old, fresh) {
  const source = fresh.outerHTML;
  if (source === old.dataset.source) return { changed: false };
  const first = old.dataset.source === undefined;
  const inside = old.contains(document.activeElement) ? document.activeElement : null;
  if (dirty(old) || inside?.matches("textarea, input:not([type=checkbox])")) return { blocked: true };
  const focus = inside && mien(inside);
  keepOpen(old, fresh);
  const added = markFresh(old, fresh);
  old.replaceChildren(...fresh.childNodes);
  old.dataset.source = source;
  showTimes(old);
  if (focus) [...old.querySelectorAll("a, button, summary, input, select")].find((one) => mien(one) === focus)?.focus();
  return { changed: !first, added };
}

async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch(self(), { headers: { Accept: "text/html" }, redirect: "manual" });
    if (answer.type === "opaqueredirect") { say("You are logged out.", true); return; }
    if (!answer.ok) { say("This page cannot be brought up to date.", true); return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    take(fresh);
  } catch {
    // No network now: the page stays as it is.
  } finally {
    busy = false;
    if (again) { again = false; setTimeout(refresh, 300); }
  }
}

function take(fresh) {
  // What has ended is not asked for every second any more.
  if (!fresh.body.dataset.poll) delete document.body.dataset.poll;
  let blocked = false;
  let added = 0;
  const stale = document.body.dataset.version !== fresh.body.dataset.version;
  for (const old of document.querySelectorAll("[data-live]")) {
    const counterpart = fresh.getElementById(old.id);
    if (!counterpart) continue;
    const done = swap(old, counterpart);
    blocked ||= Boolean(done.blocked);
    added += done.added ?? 0;
  }
  if (stale && !blocked) {
    // Forms outside of the live parts act on what is seen now.
    const version = fresh.body.dataset.version;
    for (const field of document.querySelectorAll('input[name="version"]')) field.value = version;
    document.body.dataset.version = version;
  }
  if (blocked && stale) say("This case has changed meanwhile.", true);
  else if (added) say(added === 1 ? "One more came." : `${added} more came.`);
}

export function listenToChanges() {
  const { liveUrl, poll } = document.body.dataset;
  if (poll) {
    setInterval(() => {
      if (document.body.dataset.poll && document.visibilityState === "visible") refresh();
    }, Number(poll));
  }
  if (!liveUrl) return;
  let source = null;
  let { mark } = document.body.dataset;
  const open = () => {
    source = new EventSource(liveUrl);
    source.addEventListener("mark", (event) => {
      // The first one may differ as well: from that of the page, or from the last one heard.
      if (mark !== event.data) refresh();
      mark = event.data;
    });
  };
  const change = () => {
    // A browser has few connections for one site: only the page that is seen has one.
    if (document.visibilityState === "visible" && !source) open();
    else if (document.visibilityState !== "visible" && source) { source.close(); source = null; }
  };
  document.addEventListener("visibilitychange", change);
  // A page that comes back from the history may be old.
  window.addEventListener("pageshow", (event) => { if (event.persisted) refresh(); });
  change();
}
