// Open reports in Chromium and print what it sees, as JSON: node look.mjs <folder of the browser> <folder of pages>
import { createRequire } from "node:module";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [installed, pages] = process.argv.slice(2);
const require = createRequire(join(installed, "package.json"));
const load = async (name) => (await import(pathToFileURL(require.resolve(name)).href)).default;
const chromium = await load("@sparticuz/chromium");
const puppeteer = await load("puppeteer-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const DESKTOP = { width: 1280, height: 900 };
const PHONE = { width: 375, height: 812, deviceScaleFactor: 2, isMobile: true };

const browser = await puppeteer.launch({
  args: chromium.args,
  executablePath: await chromium.executablePath(),
  headless: "shell",
});

async function open(name, scheme = "light", viewport = DESKTOP) {
  const page = await browser.newPage();
  const seen = { console: [], requests: [] };
  page.on("console", (message) => seen.console.push(message.text()));
  page.on("pageerror", (error) => seen.console.push(String(error)));
  page.on("dialog", async (dialog) => {
    seen.console.push(`dialog: ${dialog.message()}`);
    await dialog.dismiss();
  });
  page.on("request", (request) => seen.requests.push(request.url().slice(0, 200)));
  await page.setViewport(viewport);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
  await page.goto(pathToFileURL(join(pages, name)).href, { waitUntil: "load" });
  return { page, seen };
}

const shown = (page) =>
  page.evaluate(() => document.querySelectorAll("#lines > tbody > tr:not([hidden])").length);

async function search(page, words, only) {
  await page.evaluate(() => (document.getElementById("query").value = ""));
  await page.select("#only", only);
  await page.type("#query", words);
  return { rows: await shown(page), told: await page.$eval("#found", (output) => output.textContent) };
}

// The share of the tiles' grid that is covered by tiles.
const filled = (page) =>
  page.$eval(".tiles", (grid) => {
    const area = (element) => element.getBoundingClientRect().width * element.getBoundingClientRect().height;
    return [...grid.children].reduce((sum, tile) => sum + area(tile), 0) / area(grid);
  });

async function violations(page) {
  const found = await page.evaluate(`${axe}; axe.run({ resultTypes: ["violations"] })`);
  return found.violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 120)}`));
}

const results = {};
for (const name of readdirSync(pages).filter((file) => file.endsWith(".html"))) {
  const { page, seen } = await open(name);
  const result = { ...seen, rows: await shown(page) };
  result.title = await page.title();
  result.pwned = await page.evaluate(() => window.pwned ?? null);
  result.elements = await page.evaluate(() => ({
    scripts: document.scripts.length,
    loading: document.querySelectorAll("img, iframe, object, embed, a, base, main style, main script, main meta").length,
  }));
  await page.mouse.move(640, 450);
  result.violations = { light: await violations(page) };
  if (await page.$("#query")) {
    result.searches = {};
    for (const [words, only] of [["parcel depot", ""], ["", "failed"], ["no such words", ""], ["PARCEL", "truncated"]])
      result.searches[`${words}|${only}`] = await search(page, words, only);
  }
  result.tiles = [];
  for (const width of [375, 700, 768, 960, 1280]) {
    await page.setViewport({ width, height: 900 });
    result.tiles.push(await filled(page));
  }
  await page.setViewport({ width: 700, height: 900 });
  await page.emulateMediaType("print");
  result.tiles.push(await filled(page));
  result.print = await page.evaluate(() => ({
    background: getComputedStyle(document.body).backgroundColor,
    form: getComputedStyle(document.querySelector("form") ?? document.head).display,
  }));
  const pdf = Buffer.from(await page.pdf({ format: "A4" })).toString("latin1");
  result.pdf_pages = Number(pdf.match(/\/Count (\d+)/)?.[1] ?? 0);
  await page.close();

  const dark = await open(name, "dark");
  result.violations.dark = await violations(dark.page);
  result.background = await dark.page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await dark.page.close();

  const phone = await open(name, "light", PHONE);
  result.phone = await phone.page.evaluate(() => document.documentElement.scrollWidth);
  await phone.page.close();
  results[name] = result;
}

for (const [name, scheme, viewport] of [
  ["desktop", "light", { ...DESKTOP, height: 1600 }],
  ["dark", "dark", { ...DESKTOP, height: 1600 }],
  ["phone", "light", { ...PHONE, height: 1000 }],
]) {
  const { page } = await open("tickets.html", scheme, viewport);
  await page.screenshot({ path: join(pages, `report-${name}.png`) });
  await page.close();
}
await browser.close();
console.log(JSON.stringify(results));
