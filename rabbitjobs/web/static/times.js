// Times in the zone of the viewer, and ages that grow.
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const steps = [[86400, "d"], [3600, "h"], [60, "min"]];

function span(seconds) {
  for (const [size, unit] of steps) if (seconds >= size) return `${Math.floor(seconds / size)}\u00a0${unit}`;
  return `${Math.max(0, Math.floor(seconds))}\u00a0s`;
}

function show(element) {
  const at = new Date(element.dateTime);
  if (isNaN(at)) return;
  const kind = element.dataset.time;
  const seconds = (at - Date.now()) / 1000;
  element.title = `${full.format(at)} (${zone})`;
  if (kind === "ago") element.textContent = `${span(-seconds)} ago`;
  else if (kind === "until") element.textContent = seconds > 0 ? `in ${span(seconds)}` : "now";
  else element.textContent = full.format(at);
}

export function showTimes(root) {
  for (const element of root.querySelectorAll("time[data-time]")) show(element);
  for (const element of document.querySelectorAll("[data-zone]")) element.textContent = `in ${zone}`;
}

setInterval(() => {
  for (const element of document.querySelectorAll('time[data-time="ago"], time[data-time="until"]')) show(element);
}, 15000);
