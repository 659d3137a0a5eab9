import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { trials } from '../trials.ts';
import { type CampaignOptions, type ParserReport, runCampaign } from './campaign.ts';
import { parsers as planted } from './planted.ts';
import { FuzzerThreads } from './watched-fuzzer.ts';

describe('the fuzzer', () => {
  let folder = '';
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'assay-fuzz-'));
  });
  afterEach(() => rm(folder, { recursive: true }));

  const options = (more: Partial<CampaignOptions>): CampaignOptions => ({
    list: new URL('planted.ts', import.meta.url).href,
    parsers: planted,
    names: [],
    milliseconds: 300_000,
    inputs: 20_000,
    jobs: 2,
    seed: 'test',
    resumes: false,
    isGuided: false,
    work: join(folder, 'work'),
    regressions: join(folder, 'regressions'),
    findings: join(folder, 'regressions'),
    patience: 60_000,
    signal: new AbortController().signal,
    note: () => undefined,
    ...more,
  });
  const fuzzed = async (name: string, more: Partial<CampaignOptions> = {}): Promise<ParserReport> => {
    const [report] = await runCampaign(options({ names: [name], ...more }));
    if (report === undefined) throw new Error('no report');
    return report;
  };

  for (const [name, kind, inputs, patience] of [
    ['slow', 'hang', 500, 60_000],
    ['growth', 'growth', 33_000, 60_000],
    ['bloat', 'bloat', 1000, 60_000],
    ['unsteady', 'unsteady', 512, 60_000],
  ] as const)
    it(`finds what is planted: ${name}`, async () => {
      const { findings } = await fuzzed(name, { inputs, patience });
      assert.deepEqual(
        findings.map((finding) => finding.kind),
        [kind],
      );
    }).timeout(300_000);

  it('finds it in a thread that another parser had before', async () => {
    await using threads = new FuzzerThreads();
    assert.deepEqual((await fuzzed('faultless', { inputs: 500, threads })).findings, []);
    const { findings } = await fuzzed('bloat', { inputs: 1000, threads });
    assert.deepEqual(
      findings.map(({ kind }) => kind),
      ['bloat'],
    );
    const idle = threads.take();
    assert.notEqual(idle, undefined);
    await idle?.terminate();
  }).timeout(300_000);

  it('goes on behind an input that holds its thread, and finds it again with the next run', async () => {
    const first = await fuzzed('endless', { inputs: 100, patience: 80 });
    // The seed, then what was found: without a thread that went on behind it, these two are all.
    const next = await fuzzed('endless', { inputs: 100, patience: 80 });
    for (const { inputs, findings } of [first, next])
      assert.deepEqual([inputs > 2, findings.map(({ kind }) => kind)], [true, ['hang']]);
  }).timeout(300_000);

  it('finds what lies behind branches by what ran, makes it small, and shows it again before it makes any input', async () => {
    const { findings, reached } = await fuzzed('crash', { isGuided: true, inputs: 15_000, seed: 'short' });
    const [found] = findings;
    assert.deepEqual([findings.length, found?.kind], [1, 'crash']);
    const input = await readFile(found?.file ?? '');
    assert.deepEqual([input.length, input[0], input.toString('hex', 4)], [6, 0x47, '9ed1']);
    assert.deepEqual(
      reached.map(({ source }) => source),
      ['test/fuzz/planted.ts'],
    );
    assert.deepEqual((await fuzzed('crash', { inputs: 1 })).findings, findings);
  }).timeout(300_000);

  it('does not find it without looking at what ran: what ran is worth something', async () => {
    assert.deepEqual((await fuzzed('crash', { inputs: trials(4_000) })).findings, []);
  }).timeout(60_000);

  it('says nothing of a parser that only refuses, and makes the same inputs of the same seed', async () => {
    const [one, other] = [
      await fuzzed('faultless', { inputs: 5000 }),
      await fuzzed('faultless', { inputs: 5000 }),
    ];
    assert.deepEqual(one.findings, []);
    assert.ok(one.accepted > 0 && one.accepted < one.pastHeader && one.pastHeader < one.inputs);
    assert.deepEqual(
      [other.inputs, other.pastHeader, other.accepted],
      [one.inputs, one.pastHeader, one.accepted],
    );
  }).timeout(60_000);

  it('goes on where it ended', async () => {
    const first = await fuzzed('faultless', { inputs: 1000 });
    const done = await fuzzed('faultless', { inputs: 1000, resumes: true });
    assert.equal(done.inputs, first.inputs);
    const more = await fuzzed('faultless', { inputs: 3000, resumes: true });
    assert.ok(more.inputs >= 3000 && more.corpus >= first.corpus);
  }).timeout(60_000);
});
