// Bots: some accounts click a thousand times each, ten times at the same moment, and ignore Retry-After. However
// often an account clicks, it wins once, and all of them together win no more than the quota.
//
//   cargo xtask load bots
//   k6 run -e RUSHGATE_URL=http://127.0.0.1:3000 -e CAMPAIGN=launch -e QUOTA=20 load/bots.js

import exec from "k6/execution";
import { applyAtOnce } from "./lib/api.js";
import { Applicant } from "./lib/applicant.js";
import { checkBooks, common, requireOpenCampaign } from "./lib/books.js";
import { quota, userId, whole } from "./lib/settings.js";
import { client, noteAnswer, noteChange, thresholds } from "./lib/tally.js";

const accounts = whole("ACCOUNTS", 100);
const clicks = whole("CLICKS", 1000);
// An account clicks this often at the same moment.
const atOnce = Math.min(10, clicks);
if (quota >= accounts) {
  throw new Error(`${quota} coupons are enough for ${accounts} accounts: set QUOTA below ACCOUNTS`);
}

export const options = {
  ...common,
  scenarios: {
    bots: {
      executor: "shared-iterations",
      vus: Math.min(whole("CONCURRENCY", 50), accounts),
      iterations: accounts * Math.ceil(clicks / atOnce),
      maxDuration: "1h",
    },
  },
  thresholds: thresholds(quota),
};

export const setup = requireOpenCampaign;

// The serial of each account that this VU has been told.
const told = {};

export default client(() => {
  const account = userId(exec.scenario.iterationInTest % accounts);
  for (const answer of applyAtOnce(account, atOnce)) {
    noteAnswer(answer);
    const { serial } = answer;
    if (serial !== 0 && told[account] && told[account] !== serial) noteChange(account, told[account], serial);
    if (serial !== 0) told[account] = serial;
  }
});

export function teardown() {
  // Each account asks once more, as an applicant does: with rate limits, all of its clicks may have been rejected.
  for (let number = 0; number < accounts; number++) new Applicant(number).applyUntilDecided();
  checkBooks(accounts, quota);
}
