import { createConfig, lintFromString } from '@redocly/openapi-core';
import { openApi } from '../attest-server/http/openapi.ts';
import { routes } from '../attest-server/http/routes.ts';

/** Whether programs that make clients would read what `/openapi.json` says; each fault is one line. */
const faults = await lintFromString({
  source: JSON.stringify(openApi(routes)),
  absoluteRef: 'openapi.json',
  // Its warnings are errors here.
  config: await createConfig({ extends: ['recommended-strict'] }),
});
for (const { ruleId, message, location } of faults)
  console.error(`${location[0]?.pointer ?? ''}: ${message} (${ruleId})`);
process.exitCode = faults.length === 0 ? 0 : 1;
