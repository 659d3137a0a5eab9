import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, it } from 'mocha';
import { trials } from '../trials.ts';
import { runCampaign } from './campaign.ts';
import { parsers } from './parsers.ts';
import { FuzzerThreads } from './watched-fuzzer.ts';

const inputs = trials(26);

describe('each parser of what comes from outside', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-fuzz-'));
  });
  afterEach(() => rm(folder, { recursive: true }));
  const threads = new FuzzerThreads();
  after(() => threads[Symbol.asyncDispose]());

  for (const name of Object.keys(parsers))
    it(`gives a value or its own error, soon and with little memory: ${name}`, async () => {
      const [report] = await runCampaign({
        list: new URL('parsers.ts', import.meta.url).href,
        parsers,
        names: [name],
        // The number of inputs ends it; this is for a machine that does nothing else.
        milliseconds: 60_000,
        inputs,
        jobs: 1,
        seed: 'npm test',
        resumes: false,
        isGuided: false,
        work: folder,
        regressions: join(import.meta.dirname, 'regressions'),
        findings: folder,
        patience: 30_000,
        signal: new AbortController().signal,
        threads,
        note: () => undefined,
      });
      assert.deepEqual(report?.findings, []);
      assert.ok((report?.inputs ?? 0) >= inputs);
    }).timeout(300_000);
});
