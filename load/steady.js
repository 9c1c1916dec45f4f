// A steady stream of new applicants: RATE of them a second, whether or not the answers keep up (an open model). A slow
// answer delays no later applicant. So the latencies are those that applicants see.
//
//   cargo xtask load steady
//   k6 run -e RUSHGATE_URL=http://127.0.0.1:3000 -e CAMPAIGN=launch -e QUOTA=100 -e RATE=500 -e SECONDS=60 load/steady.js

import exec from "k6/execution";
import { Applicant } from "./lib/applicant.js";
import { checkBooks, common, requireOpenCampaign } from "./lib/books.js";
import { whole } from "./lib/settings.js";
import { client, thresholds } from "./lib/tally.js";

const rate = whole("RATE", 200);
const seconds = whole("SECONDS", 30);
const most = whole("MAX_VUS", 500);
const ready = whole("READY_VUS", Math.min(rate, most));

export const options = {
  ...common,
  scenarios: {
    steady: {
      executor: "constant-arrival-rate",
      rate,
      duration: `${seconds}s`,
      preAllocatedVUs: ready,
      maxVUs: most,
    },
  },
  // With a dropped iteration, k6 could not keep the rate: its latencies are then too good.
  thresholds: { ...thresholds(), dropped_iterations: ["count==0"] },
};

export const setup = requireOpenCampaign;

export default client(() => {
  new Applicant(exec.scenario.iterationInTest).applyUntilDecided();
});

export function teardown() {
  // At most one more than planned has come.
  checkBooks(rate * seconds + 1);
}
