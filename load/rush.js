// A rush: many applicants, each once, a limited number at a time. One in ten clicks three times.
//
//   cargo xtask load rush
//   k6 run -e RUSHGATE_URL=http://127.0.0.1:3000 -e CAMPAIGN=launch -e QUOTA=100 load/rush.js

import exec from "k6/execution";
import { Applicant } from "./lib/applicant.js";
import { checkBooks, common, requireOpenCampaign } from "./lib/books.js";
import { quota, whole } from "./lib/settings.js";
import { client, thresholds } from "./lib/tally.js";

const applicants = whole("APPLICANTS", 10000);
const due = Math.min(quota, applicants);

export const options = {
  ...common,
  scenarios: {
    rush: {
      executor: "shared-iterations",
      vus: Math.min(whole("CONCURRENCY", 100), applicants),
      iterations: applicants,
      maxDuration: "1h",
    },
  },
  thresholds: thresholds(due),
};

export const setup = requireOpenCampaign;

export default client(() => {
  const number = exec.scenario.iterationInTest;
  const applicant = new Applicant(number);
  applicant.applyUntilDecided();
  if (number % 10 === 0) applicant.applyAtOnce(2);
});

export function teardown() {
  checkBooks(applicants, due);
}
