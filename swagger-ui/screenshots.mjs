// Takes the pictures of the README: node screenshots.mjs CHROMIUM URL FOLDER
import { chromium } from "playwright-core";

const [executablePath, url, folder] = process.argv.slice(2);
const json = { "content-type": "application/json" };

async function post(path, body) {
  const answer = await fetch(url + path, { method: "POST", headers: json, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
}

await post("/user/1/cart/1076963", { count: 2 });
await post("/user/1/cart/773297411", { count: 1 });

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1200, height: 900 } });
const failed = [];
page.on("console", (message) => message.type() === "error" && failed.push(message.text()));

// All operations of the four services.
await page.goto(url);
await page.locator(".opblock").first().waitFor();
await page.screenshot({ path: `${folder}/swagger-ui.png`, fullPage: true });

// One of them after "Execute".
const list = page.locator("#operations-CartService-List");
await list.locator(".opblock-summary-control").click();
await list.locator("input[placeholder*=userId]").fill("1");
await list.locator("button.execute").click();
await list.locator(".live-responses-table .response-col_status", { hasText: "200" }).waitFor();
await list.scrollIntoViewIfNeeded();
const { x, y, width } = await list.boundingBox();
await page.screenshot({ path: `${folder}/swagger-ui-cart.png`, fullPage: true, clip: { x, y: y + await page.evaluate(() => scrollY), width, height: 1030 } });

await browser.close();
if (failed.length > 0) throw new Error(`the page reports errors: ${failed.join("; ")}`);
