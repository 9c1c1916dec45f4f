// The page in a real browser: visitors open it, click twice, and reload. The ticket must show the serial that the visitor
// holds, also after the reload.
//
//   cargo xtask load browser
//   K6_BROWSER_EXECUTABLE_PATH=/usr/bin/chromium \
//     k6 run -e RUSHGATE_URL=http://127.0.0.1:3000 -e CAMPAIGN=launch -e QUOTA=100 load/browser.js

import { check } from "k6";
import { browser } from "k6/browser";
import { ask } from "./lib/api.js";
import { checkBooks, common, requireOpenCampaign } from "./lib/books.js";
import { campaign, quota, url, whole } from "./lib/settings.js";
import { client, noteWinner, thresholds } from "./lib/tally.js";

const visitors = whole("VISITORS", 20);
const due = Math.min(quota, visitors);

export const options = {
  ...common,
  scenarios: {
    browser: {
      executor: "shared-iterations",
      vus: Math.min(whole("CONCURRENCY", 2), visitors),
      iterations: visitors,
      maxDuration: "1h",
      options: { browser: { type: "chromium" } },
    },
  },
  thresholds: thresholds(due),
};

// The stages of the page in which the gate has decided.
const decided = ["granted", "issued", "soldOut"];

export const setup = requireOpenCampaign;

export default client(async () => {
  // With a context of its own, each visitor is new to the page.
  const context = await browser.newContext();
  const page = await context.newPage();
  try {
    await page.goto(`${url}/?campaign=${encodeURIComponent(campaign)}`);
    const first = await ticket(page, ["open", ...decided]);
    if (first.stage === "open") await page.dblclick('[data-stage="open"] button');
    const { serial } = await ticket(page, decided);
    if (serial !== 0) noteWinner(serial);
    await page.reload();
    const again = await ticket(page, decided);
    const held = serial === 0 ? 0 : ask(await visitor(page)).serial;
    check(null, {
      "the ticket shows the serial that the visitor holds": () => serial === held,
      "the ticket is the same after a reload": () => again.serial === serial,
    });
  } finally {
    await context.close();
  }
});

export function teardown() {
  // The page chooses the user ids, so only the counts are known here.
  checkBooks(0, due);
}

// Waits until the ticket is in one of these stages. Returns the stage, and the serial on the ticket, or 0.
async function ticket(page, stages) {
  const isThere = (wanted) => wanted.includes(document.querySelector("[data-stage]")?.dataset.stage);
  await page.waitForFunction(isThere, {}, stages);
  return page.evaluate(() => {
    const ticket = document.querySelector("[data-stage]");
    const { stage } = ticket.dataset;
    const isWon = stage === "granted" || stage === "issued";
    return { stage, serial: isWon ? Number(ticket.querySelector(".figure").textContent.replace(/\D/g, "")) : 0 };
  });
}

// The user id that the page has chosen: the end of the address to which it has sent the application.
function visitor(page) {
  return page.evaluate(() => {
    const addresses = performance.getEntriesByType("resource").map(({ name }) => new URL(name).pathname);
    const address = addresses.find((path) => path.includes("/applications/"));
    return decodeURIComponent(address.split("/").pop());
  });
}
