// While the page of a case is open and seen, the claim on it is prolonged.
import { say } from "./live.js";

export function keepLease() {
  const { heartbeat, lease } = document.body.dataset;
  if (!heartbeat) return;
  const csrf = document.querySelector('input[name="csrf"]')?.value ?? "";
  const pause = Math.max(2, Math.min(Number(lease) / 3, 120)) * 1000;
  const timer = setInterval(async () => {
    if (document.visibilityState !== "visible") return;
    try {
      const answer = await fetch(heartbeat, {
        method: "POST", body: new URLSearchParams({ csrf }), redirect: "error",
      });
      if (answer.ok) return;
      clearInterval(timer);
      const told = await answer.json().catch(() => ({}));
      say(told.error ?? "You hold this case no more.", true);
    } catch {
      // No network now: the next one tries again, and the lease is longer than three of them.
    }
  }, pause);
}
