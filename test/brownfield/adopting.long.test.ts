import assert from 'node:assert/strict';
import { copyFile, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { run } from 'node-tpm2/run';
import { parse, stringify } from 'yaml';
import { z } from 'zod';
import { nodeView } from '../../attest-server/api/node-api.ts';
import { simulateAnswer } from '../../attest-server/api/policy-api.ts';
import { defaultTaintKeys } from '../../attest-server/formats/marks.ts';
import { assertFires, type Scraped } from '../manifests/promtool.ts';
import { existingSite, updated } from './machines.ts';
import { openSite, type Site } from './site.ts';
import { firstPolicy, policyOfValues, typedIn } from './typed-page.ts';

const group = 'discrete-secureboot';
const instance = 'assay:9464';

describe('a site of 60 machines that was there before, along docs/adopting.md', function () {
  this.timeout(120_000);
  const machines = existingSite();
  const withTpm = machines.filter(({ tpm }) => tpm !== 'none').map(({ name }) => name);
  const withoutTpm = machines.filter(({ tpm }) => tpm === 'none').map(({ name }) => name);
  /** Of which nothing is there to compare: no log, or one that shows no kernel. */
  const withoutBoot = [...withTpm.filter((name) => name.startsWith('train-')), 'old-1', 'other-1'];
  const withBoot = withTpm.filter((name) => !withoutBoot.includes(name));
  const labelled = machines.filter(({ name }) => name.startsWith('db-')).map(({ name }) => name);
  let site: Site;
  before(async () => {
    site = await openSite(machines, firstPolicy());
  });
  after(() => site?.[Symbol.asyncDispose]());

  async function shown() {
    const { out, code, err } = await site.assay(['get', 'nodes', '-o', 'json']);
    assert.equal(code, 0, err);
    return z.object({ items: z.array(nodeView) }).parse(JSON.parse(out)).items;
  }
  const statesOf = async () =>
    (await shown()).map(({ name, state, require }) => `${name} ${state} ${require}`);
  const all = (names: readonly string[], said: string) => names.map((name) => `${name} ${said}`).sort();
  const marked = (names: readonly string[]) =>
    machines.map(({ name }) => `${name} ${names.includes(name) ? 'label True' : '-'}`);
  const marks = () => machines.map(({ name }) => `${name} ${site.marksOf(name)}`);
  async function reaches(
    wanted: readonly string[],
    now: () => Promise<readonly string[]> | readonly string[],
  ) {
    let last: readonly string[] = [];
    const missing = () => wanted.filter((each) => !last.includes(each));
    await site.until(
      async () => {
        last = await now();
        return last.length === wanted.length && missing().length === 0;
      },
      () => `${missing().join('; ')} but ${last.filter((each) => !wanted.includes(each)).join('; ')}`,
    );
  }

  /** Types the lines of a section as they stand there; gives what each of them printed. */
  async function type(section: string): Promise<readonly string[]> {
    const printed: string[] = [];
    for (const { line, answer } of typedIn(section)) printed.push(await typed(line, answer));
    return printed;
  }
  async function typed(line: string, answer: string | null): Promise<string> {
    const [program, ...args] = line.split(' ');
    if (program === 'assay') {
      const { code, out, err } = await site.assay(args, answer);
      assert.equal(code, 0, `${line}: ${out}${err}`);
      return out + err;
    }
    if (program === 'helm') {
      const values = await readFile(join(site.folder, args.at(-1) ?? ''), 'utf8');
      await site.putInForce(stringify(policyOfValues(values)));
      return '';
    }
    const shell = `cd '${site.folder}' && ${line}`;
    const { stdout } = await run('sh', ['-c', shell], { timeoutMs: 10_000, maxOutputBytes: 1 << 20 });
    return stdout.toString('utf8');
  }

  /** Those without a TPM are shown, and are no nodes. */
  const atFirst = [...all(withTpm, 'trusted identity'), ...all(withoutTpm, 'pending ')].sort();

  it('1. is trusted within three minutes, each machine that has a TPM, with no hand laid on any', async () => {
    assert.deepEqual([machines.length, withTpm.length, withBoot.length], [60, 55, 49]);
    const began = performance.now();
    await site.arrive();
    assert.deepEqual((await statesOf()).sort(), atFirst);
    assert.ok(performance.now() - began < 180_000);
    for (const name of withoutTpm) assert.deepEqual(site.agents.get(name)?.told, ['unsupported_tpm'], name);
    await type('1. Observe');
  });

  it('shows the boot of each, and holds nothing against any', async () => {
    const reasons = (await shown()).flatMap(({ name, reasons: its }) =>
      its
        .filter(({ severity }) => severity !== 'info')
        .map(({ code, severity }) => `${name} ${code} ${severity}`),
    );
    assert.deepEqual(
      reasons.filter((reason) => !/^twin-\d identity_claim_mismatch warn$/.test(reason)),
      all(withoutTpm, 'unsupported_tpm fail'),
    );
    for (const [name, words] of [
      ['db-1', /no_reference/],
      ['train-1', /no boot log|no_boot_log|no_reference/],
      ['old-1', /log_incomplete/],
      ['gpu-1', /unsupported_tpm/],
    ] as const)
      assert.match((await site.assay(['why', name])).out, words, name);
    const { out } = await site.assay(['policy', 'suggest']);
    for (const kernel of ['vmlinuz-5.18.0-0.deb11.4-amd64', 'vmlinuz-6.11.5-300.fc41.x86_64'])
      assert.ok(out.includes(kernel), kernel);
  });

  it('gets no mark, pages nobody, and is worth one warning: some machines have no TPM', async () => {
    assert.deepEqual(marks(), marked([]));
    // Of five that come again each quarter of a minute.
    await assertFires(await scraped({ unsupported_tpm: 4 * withoutTpm.length }), '1h', [
      { alert: 'AssayMachinesWithoutTpm', labels: { instance }, value: String(withoutTpm.length) },
    ]);
  });

  it('stays so where firmware TPMs lose their clocks with the power (row 28)', async () => {
    const workers = [...site.agents.values()].filter(({ machine }) => machine.losesClock);
    assert.equal(workers.length, 10);
    for (const agent of workers) agent.powerCycle();
    await site.arrive(workers);
    assert.deepEqual((await statesOf()).sort(), atFirst);
    const { out } = await site.assay(['history', 'worker-1', '-o', 'json']);
    assert.match(out, /"rebooted"/);
    assert.match(out, /its clock started again/);
  });

  it('2. has the TPMs approved that were shown, and no other', async () => {
    const bound = async () => Map.groupBy(await shown(), ({ bound: by }) => by ?? 'none');
    const before = await bound();
    assert.deepEqual([before.get('first-use')?.length, before.get('vendor')?.length], [16, 39]);
    // What is marked although nobody vouched for it is told.
    const { out } = await site.simulate(
      firstPolicy()
        .replace('observe', 'label')
        .replace('[vendor, first-use]', '[vendor]')
        .replace('[identity]', '[identity, boot]'),
    );
    assert.deepEqual(
      z.looseObject({ firstUse: z.array(z.string()) }).parse(JSON.parse(out)).firstUse,
      before.get('first-use')?.map(({ name }) => name),
    );
    const [printed = ''] = await type('2. Vouch for the TPMs');
    for (const { name } of before.get('first-use') ?? []) assert.ok(printed.includes(name), name);
    assert.deepEqual(
      [(await bound()).get('approval')?.length, (await bound()).get('first-use')],
      [16, undefined],
    );
  });

  it('3. has a policy drafted that names whom it leaves out', async () => {
    await type('3. Draft a policy');
    const text = await readFile(join(site.folder, 'policy.yaml'), 'utf8');
    const [, left = ''] = /^# The boots of (.*)$/m.exec(text) ?? [];
    for (const name of withoutBoot) assert.ok(left.includes(name), name);
    assert.match(
      text,
      /name: without-tpm\n {4}nodes: \["gpu-1", "gpu-2", "gpu-3", "gpu-4", "gpu-5"\]\n {4}tpm: absent/,
    );
    assert.match(text, /# it is their own word of: gpu-1, gpu-2, gpu-3, gpu-4, gpu-5/);
  });

  it('4. has the boots of today captured by the commands that the draft names', async () => {
    const text = await readFile(join(site.folder, 'policy.yaml'), 'utf8');
    const named = [...text.matchAll(/^ {2}# {3}(assay reference capture .*)$/gm)].map(
      ([, line = '']) => line,
    );
    const onPage = typedIn('4. Say what is good').map(({ line }) => line);
    assert.ok(named.some((line) => onPage.includes(line)));
    for (const line of named.filter((each) => !onPage.includes(each))) await typed(line, null);
    await type('4. Say what is good');
    assert.doesNotMatch((await site.assay(['policy', 'suggest'])).out, /reference capture \w+-\d/);
  });

  it('5. is trusted by the draft, siblings too, as the simulation says and as it then is (row 113)', async () => {
    await type('5. Simulate');
    // They come again within half a minute.
    await site.arrive(withoutTpm.flatMap((name) => site.agents.get(name) ?? []));
    await reaches(
      [
        ...all(withBoot, 'trusted identity,boot'),
        ...all(withoutBoot, 'trusted identity'),
        ...all(withoutTpm, 'unsupported '),
      ],
      statesOf,
    );
    assert.deepEqual(marks(), marked([]));
  });

  it('6. has one group labelled', async () => {
    await type('6. Label a group');
    await reaches(marked(labelled), marks);
    assert.deepEqual([...site.everTainted], []);
  });

  it('keeps the label through an update of the kernel, once its first node was captured', async () => {
    const [first, next] = ['db-1', 'db-2'].map((name) => site.agents.get(name) ?? assert.fail(name));
    assert.ok(first !== undefined && next !== undefined);
    first.powerCycle(updated(1));
    await site.arrive([first]);
    await site.until(() => site.marksOf('db-1') === 'False');
    await typed('assay reference capture db-1 --name kernel-update --reason updated', 'y');
    await site.until(() => site.marksOf('db-1') === 'label True');
    next.powerCycle(updated(2));
    await site.arrive([next]);
    assert.match(next.told.at(-1) ?? '', /^trusted/);
    await reaches(marked(labelled), marks);
  });

  it('7. has it enforced, which taints no healthy node', async () => {
    await type('7. Enforce it');
    // A reload first compares what the policy makes of all nodes.
    await reaches(['enforce'], async () =>
      (await shown()).flatMap(({ name, mode }) => (name === 'db-1' ? (mode ?? []) : [])),
    );
    await reaches(marked(labelled), marks);
  });

  it('8. is latched for that group, by a copy of the audit key', async () => {
    await mkdir(join(site.folder, 'copy'));
    await copyFile(join(site.folder, 'state', 'audit.key'), join(site.folder, 'copy', 'audit.key'));
    const printed = await type('8. For good');
    assert.match(printed.at(-1) ?? '', new RegExp(`enabled for good for ${group}`));
  });

  it('is trusted and labelled as a whole, wherever a boot can be compared', async () => {
    const file = z
      .looseObject({ groups: z.array(z.looseObject({ require: z.array(z.string()).optional() })) })
      .parse(parse(await readFile(join(site.folder, 'policy.yaml'), 'utf8')));
    const groups = file.groups.map((one) =>
      one.require?.includes('boot') === true && one.mode !== 'enforce' ? { ...one, mode: 'label' } : one,
    );
    const text = stringify({ ...file, groups });
    const { out, code } = await site.simulate(text);
    const { items } = z.looseObject({ items: simulateAnswer.shape.items }).parse(JSON.parse(out));
    assert.equal(code, 0);
    assert.deepEqual(
      items.map(({ node, after: then }) => `${node} ${then?.state}`).sort(),
      all(withTpm, 'trusted'),
    );
    await site.putInForce(text);
    await reaches(marked(withBoot), marks);
    await assertFires(await scraped({}), '1h', []);
  });

  it('heals by itself after a power cut that took machines and server', async () => {
    await site.stop();
    for (const agent of site.agents.values()) agent.powerCycle();
    await site.start();
    // The last comes first.
    await site.arrive([...site.agents.values()].reverse());
    await reaches(marked(withBoot), marks);
    assert.deepEqual(
      (await statesOf()).filter((state) => !state.includes('unsupported')).sort(),
      [...all(withBoot, 'trusted identity,boot'), ...all(withoutBoot, 'trusted identity')].sort(),
    );
    await assertFires(await scraped({}), '1h', []);
    // Of the group that is enforced, while it proved itself anew.
    assert.deepEqual(
      [...site.everTainted].filter((key) => key !== defaultTaintKeys.reproving),
      [],
    );
  });

  /** What the server tells now, for an hour. @param refused by code, how many are refused more each minute */
  async function scraped(refused: Readonly<Record<string, number>>): Promise<Scraped> {
    let lines: readonly string[] = [];
    // Resources follow marks within moments, which is no hour.
    await site.until(async () => {
      lines = (await site.metrics()).split('\n').filter((line) => line.startsWith('assay_'));
      return !lines.some((line) => /^assay_enforcement_wrong_resources.* [1-9]/.test(line));
    });
    return lines.map((line): Scraped[number] => {
      const [, name = '', labels = '', value = ''] =
        /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? assert.fail(line);
      const code = /code="(\w+)"/.exec(labels)?.[1] ?? '';
      // Nodes go on to answer.
      const isAnswered = name === 'assay_attestations_total' && labels.includes('result="accepted"');
      const rise = isAnswered ? 1 : name === 'assay_refusals_total' ? (refused[code] ?? 0) : 0;
      const own = `instance="${instance}"${labels === '' ? '' : `,${labels}`}`;
      return [`${name}{${own}}`, `${value}+${rise}x60`];
    });
  }
});
