// A page in Debian's Chromium: markup at an origin, scripts of registries from node_modules, and what
// can be read in it. No page of another machine is ever asked for.
import { existsSync, readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** What a registry's page serves under NAME@VERSION, by folder of node_modules. */
const PACKAGES = [
  [/^https:\/\/[^/]+\/(?:npm\/)?htmx\.org@2[^/]*\/(.+)$/, "htmx.org"],
  [/^https:\/\/[^/]+\/(?:npm\/)?htmx\.org@4[^/]*\/(.+)$/, "htmx4"],
  [/^https:\/\/[^/]+\/(?:npm\/)?htmx-ext-sse@2[^/]*\/(.+)$/, "htmx-ext-sse"],
];

let browser;

/** The browser, started once; throws what makes a story skipped if the machine has none. */
async function started() {
  const executablePath = PLACES.find((place) => place && existsSync(place));
  if (!executablePath) throw Object.assign(new Error("no Chromium on this machine"), { missing: true });
  browser ??= await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
  return browser;
}

/** Ends the browser, if there is one. */
export async function closeBrowser() {
  await browser?.close();
  browser = undefined;
}

export class Page {
  /** Opens a URL, with this markup as its page if there is any; all else goes to whoever listens. */
  static async open(url, html) {
    const context = await (await started()).newContext();
    const page = new Page(await context.newPage());
    await page.page.route("**/*", (route) => page.#serve(route, url, html));
    page.page.on("console", (message) => page.console.push(message.text()));
    page.page.on("pageerror", (error) => page.console.push(`error: ${error.message}`));
    await page.page.goto(url);
    return page;
  }

  constructor(page) {
    this.page = page;
    /** What scripts logged, browser's own complaints included. */
    this.console = [];
  }

  #serve(route, url, html) {
    const asked = route.request().url();
    if (asked === url && html) return route.fulfill({ contentType: "text/html; charset=utf-8", body: html });
    for (const [pattern, folder] of PACKAGES) {
      const file = asked.match(pattern)?.[1];
      if (file) return route.fulfill({ contentType: "text/javascript", body: script(folder, file) });
    }
    if (asked.endsWith("/favicon.ico")) return route.fulfill({ status: 404 });
    return new URL(asked).hostname === "127.0.0.1" ? route.continue() : route.abort();
  }

  /** The text of each element, in order. */
  texts(selector) {
    return this.page.$$eval(selector, (all) => all.map((one) => one.textContent));
  }

  /** The data attributes of each element, in order, with its text. */
  data(selector) {
    return this.page.$$eval(selector, (all) => all.map((one) => ({ ...one.dataset, text: one.textContent })));
  }

  async close() {
    await this.page.context().close();
  }
}

function script(folder, file) {
  return readFileSync(`${import.meta.dirname}/../node_modules/${folder}/${file}`, "utf8");
}
