import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'mocha';
import { ToolError } from 'node-tpm2/run';
import { createCloudProgram } from '../../../attest-server/enrolment/cloud-program.ts';
import { Rejection } from '../../../attest-server/wire/rejection.ts';

const ek = 'a'.repeat(64);
const machine = 'example://zone/i-1';

describe('the cloud program', () => {
  let folder: string;
  let faults: unknown[];
  let time: number;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'assay-cloud-'));
    faults = [];
    time = 0;
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  /** A program that notes down what it was asked, then does this. */
  const programThat = (does: string, timeoutMs = 10_000) => {
    const program = join(folder, 'ek-of');
    const notes = `require('node:fs').appendFileSync(__dirname + '/asked', process.argv.slice(2).join(' ') + '\\n');`;
    writeFileSync(program, `#!${process.execPath}\n${notes}\n${does}\n`, { mode: 0o700 });
    return createCloudProgram({
      program,
      environment: { AWS_ROLE_ARN: 'role' },
      timeoutMs,
      now: () => time,
      fault: (error) => faults.push(error),
    });
  };
  const says = (text: string) => `process.stdout.write(${JSON.stringify(text)});`;
  const asked = () => readFileSync(join(folder, 'asked'), 'utf8').split('\n').slice(0, -1);
  const refused = (work: Promise<unknown>) =>
    assert.rejects(
      work,
      (error: unknown) => error instanceof Rejection && error.code === 'enrolment_pending',
    );

  it('is given the providerID, and its answer is the digest', async () => {
    const ekOf = programThat(says(`{"ek":"${ek}"}\n`));
    assert.equal(await ekOf(machine), ek);
    assert.deepEqual(asked(), [machine]);
    assert.deepEqual(faults, []);
  });

  it('is told where its credentials are, and nothing else of the environment', async () => {
    process.env.ASSAY_TEST_SECRET = 'secret';
    const does = `const { AWS_ROLE_ARN, ASSAY_TEST_SECRET } = process.env; process.exitCode = AWS_ROLE_ARN === 'role' && ASSAY_TEST_SECRET === undefined ? 3 : 1;`;
    assert.equal(await programThat(does)(machine), null);
    delete process.env.ASSAY_TEST_SECRET;
  });

  it('says by exit status 3 that it does not know the machine, which is no fault', async () => {
    assert.equal(await programThat('process.exitCode = 3;')(machine), null);
    assert.deepEqual(faults, []);
  });

  for (const [what, does] of [
    ['another exit status', `${says(`{"ek":"${ek}"}`)} process.exitCode = 1;`],
    ['no output', ''],
    ['what is not JSON', says(ek)],
    ['a short digest', says('{"ek":"aa"}')],
    ['a digest in capitals', says(`{"ek":"${'A'.repeat(64)}"}`)],
    ['two answers', says(`{"ek":"${ek}"}{"ek":"${ek}"}`)],
  ] as const)
    it(`binds nobody by ${what}, and tells of it once`, async () => {
      const ekOf = programThat(does);
      await refused(ekOf(machine));
      await refused(ekOf(machine));
      assert.equal(faults.length, 1);
      assert.equal(asked().length, 1);
    });

  it('is ended when it writes more than 4 KiB, or takes too long', async () => {
    await refused(programThat(says(`{"ek":"${ek}"${' '.repeat(5000)}}`))(machine));
    await refused(programThat('setTimeout(() => {}, 60_000);', 300)(machine));
    assert.deepEqual(
      faults.map((error) => error instanceof ToolError && error.code),
      ['output_bound', 'timeout'],
    );
  });

  it('binds nobody where it is not there', async () => {
    const program = join(folder, 'absent');
    const ekOf = createCloudProgram({
      program,
      environment: {},
      now: () => time,
      fault: (error) => faults.push(error),
    });
    await refused(ekOf(machine));
    assert.ok(faults[0] instanceof ToolError && faults[0].code === 'missing_program');
  });

  it('is asked about one machine once a minute, however many ask', async () => {
    const ekOf = programThat(says(`{"ek":"${ek}"}`));
    await Promise.all(Array.from({ length: 20 }, () => ekOf(machine)));
    time = 59_999;
    await ekOf(machine);
    assert.equal(asked().length, 1);
    time = 60_000;
    await ekOf(machine);
    assert.equal(asked().length, 2);
  });

  it('runs four times at once at most', async () => {
    const ekOf = programThat(says(`{"ek":"${ek}"}`));
    const asking = ['1', '2', '3', '4'].map((id) => ekOf(`example://${id}`));
    await refused(ekOf('example://5'));
    assert.deepEqual(await Promise.all(asking), [ek, ek, ek, ek]);
    assert.equal(await ekOf('example://5'), ek);
    assert.deepEqual(faults, []);
  });

  it('is not run with what is no providerID', async () => {
    const ekOf = programThat(says(`{"ek":"${ek}"}`));
    for (const id of ['', '--help', 'example://a b', 'example://\n', `e${'x'.repeat(2000)}`])
      await refused(ekOf(id));
    assert.equal(faults.length, 5);
    assert.throws(asked);
  });
});
