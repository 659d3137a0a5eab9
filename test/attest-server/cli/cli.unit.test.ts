import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, it } from 'mocha';
import { parse } from 'yaml';
import { parseBundle } from '../../../attest-server/formats/bundle.ts';
import { notSimulated, type SimulatedNode } from '../../../attest-server/policy/draft/simulation.ts';
import type { ReasonCode } from '../../../attest-server/wire/reasons.ts';
import type { NodeState } from '../../../attest-server/wire/verdict.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import {
  type ApiServer,
  emptyWorld,
  enrolled,
  now,
  reasonOf,
  referenceOf,
  startApi,
  statusOf,
  verdictOf,
  type World,
} from '../http/api-fixture.ts';
import { madeProof } from '../policy/made-proof.ts';
import { environmentOf, runAssay } from './cli-fixture.ts';

/** Newline, terminal escape, C1 control, right-to-left override. */
const hostile = 'x\n\u001b[31mred\u009b2J\u202egnp';
// biome-ignore lint/suspicious/noControlCharactersInRegex: naming them is the point
const untamed = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/;

describe('the command line', () => {
  let world: World;
  let server: ApiServer;
  let reader: Record<string, string>;
  let operator: Record<string, string>;
  const assay = (line: string, env = reader, cwd = '/nonexistent') => runAssay(line.split(' '), { env, cwd });

  before(async () => {
    world = emptyWorld();
    const untrusted = verdictOf({
      state: 'untrusted',
      reasons: [reasonOf('kernel_unknown', { text: hostile, actual: hostile })],
    });
    const pending = verdictOf({ state: 'pending', reasons: [reasonOf('no_reference')] });
    for (const [name, verdict] of [
      ['node-1', verdictOf()],
      ['node-2', untrusted],
      ['node-3', pending],
    ] as const)
      world.nodes.set(name, {
        enrolled: { ...enrolled(name), manufacturer: hostile },
        status: statusOf(name, verdict, { kernel: hostile, evidenceDigest: 'ab'.repeat(32) }),
      });
    world.history.push({
      node: 'node-1',
      at: now - 9000,
      verdict: verdictOf(),
      evidenceDigest: null,
      transition: true,
      repeats: 0,
      since: now - 9000,
    });
    world.references.push(
      referenceOf('workers-1', '11'.repeat(32)),
      referenceOf('workers-2', '22'.repeat(32)),
    );
    const log = recordedLog('debian13-shim-grub');
    for (const name of ['node-1', 'node-2']) world.proofs.set(name, madeProof({ log }));
    world.proofs.set('node-3', madeProof({ log: tamper(log, 'kernel') }));
    world.bundles.set('node-1', {
      version: 2,
      attestationKey: 'AAAA',
      qualifyingData: '',
      quotes: [{ attest: 'AAAA', signature: 'AAAA', pcrs: {} }],
      parts: {},
    });
    server = await startApi(world);
    reader = environmentOf(server, 'reader-token');
    operator = environmentOf(server, 'operator-token');
  });
  after(() => server.close());

  it('says of a trusted node what speaks for it: who affirms what, whose reference, who enrolled it', async () => {
    world.references.push(referenceOf('workers-1'));
    const verdict = verdictOf({
      aspects: { boot: { status: 'affirming', source: 'tpm', references: ['workers-1'] } },
    });
    const name = 'node-known';
    world.nodes.set(name, { enrolled: enrolled(name), status: statusOf(name, verdict) });
    world.connected.set(name, { address: '10.0.0.2', agent: '0.2.0', since: now - 30_000, heardAt: now });
    try {
      const { code, out } = await assay(`why ${name}`);
      assert.equal(code, 0);
      for (const part of [
        'workers-1 (token:operator, 2026-11-20T12:00:00Z',
        'with a pinned key, by token:admin',
        'ab'.repeat(6),
        'since 2026-11-20T11:59:30Z (30s ago) from 10.0.0.2, agent 0.2.0',
      ])
        assert.ok(out.includes(part), `${part}\n${out}`);
    } finally {
      world.references.pop();
      world.nodes.delete(name);
    }
  });

  it('lists who is enrolled with their keys', async () => {
    const { out } = await assay('get enrolments');
    assert.match(out, /^NODE +EK +BOUND +BY +AGE\nnode-1 +abababababab +pin +token:admin +0s$/m);
    assert.match(
      (await assay('get enrolment -o wide --utc')).out,
      new RegExp(`^node-1 +${'ab'.repeat(32)} `, 'm'),
    );
    assert.equal((await assay('get enrolments -o name')).out, 'node-1\nnode-2\nnode-3\n');
    const { items } = JSON.parse((await assay('get enrolments -o json')).out);
    assert.deepEqual([items[0].name, items[0].ek, items[0].bound], ['node-1', 'ab'.repeat(32), 'pin']);
  });

  it('is found by who looks for delete', async () => {
    for (const line of ['delete node node-2', 'delete node-2', 'remove node node-2 --reason sold']) {
      const { code, err } = await assay(line);
      assert.equal(code, 2);
      assert.ok(err.includes('assay enrol revoke node-2 --reason'), err);
    }
    const { code, out } = await assay('enrol delete node-2 --reason sold --yes', operator);
    assert.equal(code, 0, out);
    assert.equal(world.decisions.pop(), 'token:operator revokes node-2: sold');
  });

  it('lists nodes with the columns that scripts know, and the state with what it rests on', async () => {
    const { code, out } = await assay('get nodes');
    const [heading = '', first = ''] = out.split('\n');
    assert.equal(code, 0);
    assert.equal(heading.replace(/ {2,}/g, '|'), 'NAME|STATE|REASON|SINCE|BOOTED|VERIFIED|AGE');
    assert.equal(first.replace(/ {2,}/g, '|'), 'node-1|trusted 2/6|-|60m|60m|5s|0s');
    const wide = (await assay('get nodes -o wide')).out.split('\n')[0] ?? '';
    assert.match(
      wide.replace(/ {2,}/g, '|'),
      /\|AGE\|GROUP\|TPM\|KERNEL\|POLICY\|SELF-REPORTED\|MODE\|MARKS\|EXEMPT$/,
    );
    assert.match((await assay('get nodes -o wide')).out, / \(virtual\) /);
  });

  it('gives the same nodes as JSON, YAML and names', async () => {
    const json = JSON.parse((await assay('get nodes -o json')).out);
    const names = json.items.map(({ name }: { name: string }) => name);
    assert.deepEqual(names, ['node-1', 'node-2', 'node-3']);
    assert.equal(json.items[1].reasons[0].text, hostile);
    const yaml = parse((await assay('get nodes -o yaml')).out);
    assert.equal(yaml.items[1].reason, 'kernel_unknown');
    assert.equal((await assay('get nodes -o name')).out, 'node-1\nnode-2\nnode-3\n');
  });

  for (const [command, code] of [
    ['get nodes node-2', 0],
    ['describe node node-1', 0],
    ['describe node node-2', 10],
    ['why node-1', 0],
    ['why node-2', 10],
    ['why node-3', 11],
    ['history node-1', 0],
    ['get nodes --wait=trusted --timeout 0s', 11],
    ['get nodes node-1 --wait=trusted --timeout 1s', 0],
    ['why node-9', 1],
    ['get nodes -o xml', 2],
    ['get nodes --wait=green', 2],
    ['get nodes --unknown', 2],
    ['history node-1 --limit 0', 2],
    ['frobnicate', 2],
    ['--help', 0],
  ] as const)
    it(`exits with ${code} for ${command}`, async () => {
      assert.equal((await assay(command)).code, code);
    });

  it('says why: component, expected, actual, source, and what to do next', async () => {
    const { out } = await assay('why node-2');
    for (const label of [
      'kernel_unknown',
      'component  kernel (boot; ',
      'expected',
      'actual',
      'source',
      'next',
    ])
      assert.ok(out.includes(label), label);
  });

  it('shows nothing of the server that a terminal would obey', async () => {
    for (const command of [
      'get nodes -o wide',
      'get nodes -o json',
      'get nodes -o yaml',
      'describe node node-2',
      'why node-2',
      'why node-2 -o json',
    ]) {
      const { out } = await assay(command);
      assert.doesNotMatch(out, untamed, command);
      assert.doesNotMatch(out, /^\S*red/m, command);
    }
  });

  it('colours only for a terminal, and never without the word', async () => {
    const { out } = await runAssay(['get', 'nodes'], { env: reader, colour: true });
    assert.ok(out.includes('\u001b[32mtrusted\u001b[0m'));
  });

  it('finds changes of state however many verdicts ago they were, and goes on where an answer ended', async () => {
    const verdict = { node: 'node-3', verdict: verdictOf(), evidenceDigest: null, repeats: 0, since: now };
    for (let i = 1; i <= 1200; i++)
      world.history.push({ ...verdict, at: now - i * 1000, transition: i === 700 || i === 1100 });
    const lines = (await assay('history node-3 --transitions')).out.trim().split('\n');
    assert.equal(lines.length, 3);
    const first = JSON.parse((await assay('history node-3 --transitions --limit 1 -o json')).out);
    const second = JSON.parse(
      (await assay(`history node-3 --transitions --before ${first.next} -o json`)).out,
    );
    assert.deepEqual([first.items.length, second.items.length, second.next], [1, 1, null]);
    assert.equal(Date.parse(second.items[0].at), now - 1_100_000);
  });

  it('shows of changes that have one row how many there were, in which states, and what was found', async () => {
    const flaps = {
      changes: 57,
      states: ['trusted', 'untrusted'],
      codes: ['cmdline_policy', 'kernel_unknown'],
    } as const;
    world.history.push({
      ...{ node: 'node-2', at: now - 1000, verdict: verdictOf(), evidenceDigest: null, transition: false },
      ...{
        repeats: 0,
        since: now - 61_000,
        flaps: { ...flaps, states: [...flaps.states], codes: [...flaps.codes] },
      },
    });
    const { out } = await assay('history node-2 --transitions');
    assert.match(out, /trusted +cmdline_policy, kernel_unknown .*57 times \(trusted, untrusted\)/);
    const [shown] = JSON.parse((await assay('history node-2 -o json')).out).items;
    assert.deepEqual(shown.flaps, flaps);
  });

  it('writes a bundle to a file of its owner', async () => {
    const file = join(server.dir, 'bundle.json');
    assert.equal((await assay(`bundle node-1 -f ${file}`)).code, 0);
    assert.equal(parseBundle(readFileSync(file, 'utf8')).version, 2);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.equal((await assay('bundle node-2')).code, 1);
    assert.equal((await assay('bundle node-1 --evidence abc')).code, 2);
  });

  it('takes a reference through its life', async () => {
    assert.equal((await assay('reference approve workers-1 --reason reviewed --yes')).code, 1);
    const retired = await assay('reference retire workers-1 --reason replaced -o json --yes', operator);
    assert.deepEqual([retired.code, JSON.parse(retired.out).state], [0, 'retired']);
    assert.equal((await assay('reference retire workers-1 --reason again --yes', operator)).code, 1);
    const approved = await assay('reference approve workers-1 --reason reviewed --yes', operator);
    assert.deepEqual([approved.code, approved.out], [0, 'reference workers-1 of group workers is active\n']);
    assert.equal((await assay('reference revoke workers-9 --reason bad --yes', operator)).code, 1);
    const file = join(server.dir, 'workers-4.json');
    const exported = await assay(`reference export workers-1 -f ${file}`, operator);
    assert.deepEqual([exported.code, exported.out], [0, '']);
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), name: 'workers-4' }));
    const imported = await assay(`reference import ${file} --staged -o json`, operator);
    assert.deepEqual([imported.code, JSON.parse(imported.out).state], [0, 'staged']);
    assert.equal((await assay(`reference import ${file}`, operator)).code, 1);
  });

  describe('before it takes a step of a reference’s life', () => {
    const side = (state: NodeState, ...codes: readonly ReasonCode[]) => ({
      state,
      group: 'workers',
      mode: 'enforce' as const,
      reasons: codes.map((code) => reasonOf(code)),
    });
    const untrusted = side('untrusted', 'revoked_reference');
    const simulated: readonly SimulatedNode[] = [
      { node: 'node-1', before: side('trusted'), after: untrusted, changed: true, note: null },
      { node: 'node-2', before: side('trusted'), after: side('trusted'), changed: false, note: null },
      notSimulated('node-3', 'its evidence was erased'),
    ];
    const step = (action: string, format = 'table') =>
      assay(`reference ${action} workers-7 --reason because -o ${format} --yes`, operator);
    const state = () => world.references.find(({ name }) => name === 'workers-7')?.state;

    beforeEach(() => {
      world.references.push({ ...referenceOf('workers-7'), state: 'staged' });
      world.simulated.push(...simulated);
    });
    afterEach(() => {
      world.references.splice(
        world.references.findIndex(({ name }) => name === 'workers-7'),
        1,
      );
      world.simulated.length = 0;
      world.busy = false;
      world.earlier = false;
    });

    for (const format of ['table', 'json'])
      it(`says on standard error whom it would change, with -o ${format} too`, async () => {
        const { code, out, err } = await step('revoke', format);
        const rows = err.split('\n').map((line) => line.replace(/ {2,}/g, '|'));
        assert.deepEqual(rows.slice(0, 4), [
          'of 3 nodes, 1 boots like reference workers-7; 1 would turn untrusted: node-1; 1 cannot be judged',
          'NODE|NOW|THEN|REASONS',
          'node-1|trusted|untrusted|revoked_reference',
          '',
        ]);
        assert.deepEqual([code, state()], [0, 'revoked']);
        if (format === 'json') assert.equal(JSON.parse(out).state, 'revoked');
        else assert.equal(out, 'reference workers-7 of group workers is revoked\n');
      });

    it('says that nobody would change', async () => {
      world.simulated.splice(0, 3, ...simulated.slice(1, 2));
      assert.equal(
        (await step('approve')).err,
        'of 1 node, none boots like reference workers-7; no node would change\n',
      );
    });

    it('takes it without, and says so, where the server cannot say: busy, or of an earlier version', async () => {
      for (const hindrance of ['busy', 'earlier'] as const) {
        world[hindrance] = true;
        const { code, err } = await step(hindrance === 'busy' ? 'approve' : 'revoke');
        assert.deepEqual([code, err.split('\n').length], [0, 2]);
        assert.doesNotMatch(err, /like reference|would turn/);
      }
      assert.equal(state(), 'revoked');
    });

    it('says once what is not open, and takes no step', async () => {
      assert.equal((await step('retire')).code, 0);
      for (const line of ['retire workers-7', 'revoke workers-9']) {
        const { code, err } = await assay(`reference ${line} --reason because --yes`, operator);
        assert.deepEqual([code, err.match(/workers-7 is retired|no such reference/g)?.length], [1, 1], err);
      }
    });
  });

  it('lists references of one kind, and compares none with one of another', async () => {
    world.references.push({ ...referenceOf('rules-1'), kind: 'firewall' });
    const all = (await assay('reference list')).out.split('\n');
    assert.equal(all[0]?.replace(/ {2,}/g, '|'), 'NAME|KIND|GROUP|STATE|FROM|BY|AGE');
    assert.equal((await assay('reference list --kind firewall -o name')).out, 'rules-1\n');
    assert.doesNotMatch((await assay('reference list --kind boot -o name')).out, /rules-1/);
    assert.equal((await assay('reference list --kind shoe')).code, 2);
    assert.equal((await assay('reference capture node-1 --name n --only /a', operator)).code, 2);
    const { code, out } = await assay('reference diff workers-1 rules-1');
    assert.deepEqual([code, out], [1, '']);
    world.references.pop();
  });

  it('captures, lists and compares references', async () => {
    assert.equal((await assay('reference capture node-1 --name workers-3')).code, 1);
    const made = await assay('reference capture node-1 --name workers-3 --staged -o json', operator);
    assert.equal(JSON.parse(made.out).state, 'staged');
    const several = await assay(
      'reference capture node-1 node-2 node-3 --name workers-5 --yes --reason updated',
      operator,
    );
    assert.deepEqual([several.code, several.out.trimEnd().split('\n').length], [0, 2]);
    assert.ok((await assay('reference list')).out.includes('workers-3'));
    const diff = JSON.parse((await assay('reference diff workers-1 workers-2 -o json')).out);
    assert.deepEqual([diff.pcrs[0].pcr, diff.events[0].stage], [4, 'kernel']);
    const file = join(server.dir, 'workers-1.json');
    writeFileSync(file, JSON.stringify(world.references[0]));
    assert.match((await runAssay(['reference', 'diff', file, file])).out, /^Both references say the same/);
  });

  it('prints a join token alone on standard output', async () => {
    const { out, code } = await assay('join-token create --node node-4 --ttl 2h', operator);
    assert.deepEqual([code, out], [0, 'assay-join-token\n']);
    assert.equal(world.joinTokens[0]?.ttlMs, 7_200_000);
    assert.equal((await assay('join-token create --node node-4 --ttl 25h', operator)).code, 2);
  });

  it('imports pins, or names every faulty line and imports nothing', async () => {
    const file = join(server.dir, 'pins.csv');
    const good = `node-1,${'a'.repeat(64)}\n# a comment\n\nnode-2,${'B'.repeat(64)}\n`;
    writeFileSync(file, `${good}Node 3,${'c'.repeat(64)}\nnode-4,abc\nnode-1,${'d'.repeat(64)}\n`);
    const faulty = await assay(`ek import ${file}`, operator);
    assert.equal(faulty.code, 1);
    assert.deepEqual(
      [...faulty.err.matchAll(/csv:(\d+):/g)].map(([, line]) => line),
      ['5', '6', '7'],
    );
    assert.equal(world.pins.length, 0);
    writeFileSync(file, good);
    assert.equal((await assay(`ek import ${file}`, operator)).code, 0);
    assert.deepEqual(world.pins[1], { node: 'node-2', ekDigest: 'b'.repeat(64) });
  });

  it('shows who waits with the whole digest, and decides in the name of who asks', async () => {
    world.waiting.push({
      node: 'node-7',
      ekDigest: 'cd'.repeat(32),
      ekPublicArea: Buffer.alloc(0),
      address: '10.0.0.7',
      certificateSubject: hostile,
      manufacturer: null,
      firstSeen: now,
      lastSeen: now,
      attempts: 2,
      nameIsEnrolled: true,
      isApproved: false,
    });
    const list = await assay('enrol list');
    assert.ok(list.out.includes('cd'.repeat(32)));
    assert.doesNotMatch(list.out, untamed);
    assert.equal(JSON.parse((await assay('enrol list -o json')).out).items[0].nameEnrolled, true);
    assert.equal((await assay(`enrol approve node-7 --ek ${'CD'.repeat(32)}`, operator)).code, 0);
    assert.equal((await assay(`enrol approve node-7 --ek ${'CD'.repeat(8)}`, operator)).code, 2);
    assert.equal((await assay('enrol approve --all --yes', operator)).code, 0);
    assert.equal((await assay('enrol revoke node-1 --reason sold --yes', operator)).code, 0);
    assert.deepEqual(world.decisions, [
      `token:operator approves node-7 ${'cd'.repeat(32)}`,
      'token:operator revokes node-1: sold',
    ]);
  });

  for (const [line, code] of [
    ['enrol approve node-7', 2],
    ['enrol approve --all node-7', 2],
    ['enrol approve', 2],
    ['enrol revoke node-7', 2],
    ['enrol revoke node-9 --reason sold --yes', 1],
    ['enrol revoke node-1 --reason sold', 2],
    [`enrol approve node-7 --ek ${'cd'.repeat(32)} --dry-run`, 2],
    ['token create --name alice --role king', 2],
    ['token create --name alice --role reader --ttl 4000d', 2],
    ['token create --name alice --role reader', 1],
  ] as const)
    it(`exits with ${code} for ${line}`, async () => {
      assert.equal((await assay(line, operator)).code, code);
    });

  it('prints a token alone on standard output, and revokes it', async () => {
    const admin = environmentOf(server, 'admin-token');
    const { code, out, err } = await assay('token create --name alice --role operator --ttl 8h', admin);
    assert.deepEqual([code, out], [0, 'text of alice\n']);
    assert.match(err, /operator.*2026-11-20T20:00:00Z/);
    assert.equal((await assay('token list', admin)).code, 0);
    assert.equal((await assay('token revoke taken --yes', admin)).out, 'token taken revoked\n');
    assert.equal((await assay('token revoke nobody --yes', admin)).code, 1);
  });

  it('finds the server through .assay/cli.json, whose paths are relative to it', async () => {
    mkdirSync(join(server.dir, '.assay'));
    const entry = { server: server.url, tokenFile: 'reader-token', caFile: server.caFile };
    copyFileSync(join(server.dir, 'reader-token'), join(server.dir, '.assay', 'reader-token'));
    writeFileSync(join(server.dir, '.assay', 'cli.json'), JSON.stringify(entry));
    assert.equal((await assay('get nodes', {}, server.dir)).code, 0);
  });

  it('sends no token of another folder where a folder that somebody else made names a server', async () => {
    const clone = join(server.dir, 'clone');
    mkdirSync(join(clone, '.assay'), { recursive: true });
    symlinkSync(join(server.dir, 'reader-token'), join(clone, '.assay', 'linked'));
    for (const tokenFile of [join(server.dir, 'reader-token'), '../../reader-token', 'linked']) {
      const entry = { server: server.url, tokenFile, caFile: server.caFile };
      writeFileSync(join(clone, '.assay', 'cli.json'), JSON.stringify(entry));
      const asked = world.answered.length;
      for (const line of ['get nodes', '__complete -- why '])
        assert.equal((await assay(line, {}, clone)).out, '', `${tokenFile}: ${line}`);
      assert.equal(world.answered.length, asked);
    }
    const { code, err } = await assay('get nodes', {}, clone);
    assert.deepEqual([code, err.includes('--token-file')], [1, true], err);
  });

  it('finds the server through a named context, and says which there are', async () => {
    mkdirSync(join(server.dir, 'assay'));
    const home = { tokenFile: '../reader-token', caFile: server.caFile, server: server.url };
    writeFileSync(join(server.dir, 'assay', 'config.json'), JSON.stringify({ contexts: { home } }));
    const env = { XDG_CONFIG_HOME: server.dir };
    assert.equal((await assay('get nodes --context home', env)).code, 0);
    const unknown = await assay('get nodes --context work', env);
    assert.deepEqual([unknown.code, unknown.err.includes('home')], [2, true]);
  });

  const faults: readonly (readonly [string, () => Record<string, string>, RegExp])[] = [
    ['no server is known', () => ({}), /npm start|--server/],
    ['the server does not answer', () => ({ ...reader, ASSAY_SERVER: 'https://localhost:1' }), /running/],
    ['the certificate is not trusted', () => without(reader, 'ASSAY_CA_FILE'), /--ca-file/],
    ['the address is not TLS', () => ({ ...reader, ASSAY_SERVER: 'http://localhost:1' }), /https:/],
    [
      'the token file is missing',
      () => ({ ...reader, ASSAY_TOKEN_FILE: '/nonexistent/token' }),
      /--token-file/,
    ],
    ['the token is refused', () => environmentOf(server, 'stolen-token'), /refused the token/],
  ];
  for (const [what, env, says] of faults)
    it(`says what to do where ${what}`, async () => {
      const { code, out, err } = await assay('get nodes', env());
      assert.notEqual(code, 0);
      assert.equal(out, '');
      assert.match(err, says);
      assert.doesNotMatch(err, /\bat .*\.ts:/);
    });
});

function without(record: Record<string, string>, name: string): Record<string, string> {
  return Object.fromEntries(Object.entries(record).filter(([key]) => key !== name));
}
