// Takes the pictures of traces and numbers: node screenshots.mjs CHROMIUM TRACE PROMETHEUS EXPRESSION FOLDER
import { createRequire } from "node:module";

const { chromium } = createRequire(new URL("../swagger-ui/package.json", import.meta.url))("playwright-core");
const [executablePath, trace, prometheus, expression, folder] = process.argv.slice(2);

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1240, height: 600 } });

// A checkout, through the services.
await page.goto(trace);
await page.getByText("notifier: process loms.order-events").first().waitFor();
await page.waitForLoadState("networkidle");
await page.screenshot({ path: `${folder}/zipkin-checkout.png` });

// What is called, and how often.
await page.goto(`${prometheus}/graph?${new URLSearchParams({ "g0.expr": expression, "g0.tab": "0", "g0.range_input": "30s", "g0.stacked": "1" })}`);
await page.locator(".legend .line", { hasText: "Checkout" }).waitFor();
await page.waitForLoadState("networkidle");
await page.screenshot({ path: `${folder}/prometheus-calls.png`, fullPage: true });

await browser.close();
