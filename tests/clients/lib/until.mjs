// Waiting for a condition.

/** Waits until `holds` gives something true, and gives it; throws after `limit` ms. */
export async function until(what, holds, limit = 60_000) {
  const end = performance.now() + limit;
  for (;;) {
    const now = await holds();
    if (now) return now;
    if (performance.now() > end) throw new Error(`not within ${limit / 1000} s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
