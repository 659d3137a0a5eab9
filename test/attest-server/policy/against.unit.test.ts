import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import type { Reference } from '../../../attest-server/formats/reference.ts';
import {
  type AppraisedNode,
  appraise,
  type NodePast,
  noPast,
} from '../../../attest-server/policy/appraise.ts';
import type { Policy } from '../../../attest-server/policy/policy.ts';
import type { Proven } from '../../../attest-server/verify/proven.ts';
import type { DiskPart } from '../../../attest-server/wire/disk.ts';
import { type PartName, partNames } from '../../../attest-server/wire/evidence.ts';
import type { Facts, HostFacts } from '../../../attest-server/wire/facts.ts';
import { type AspectName, aspects, type Reason, type Verdict } from '../../../attest-server/wire/verdict.ts';
import { siblingLog } from '../../../swtpm-fixtures/sibling.ts';
import { tamper } from '../../../swtpm-fixtures/tamper.ts';
import { recordedLog } from '../../swtpm-fixtures/recorded-log.ts';
import { provenByHand } from '../verify/made-by-hand.ts';
import { deviceOtherwise, proofWith, recordedPart, seenOtherwise } from './disk/made-disk.ts';
import { cryptLine, proofWithMappings, tableInUse } from './disk/measured-mappings.ts';
import { earlierMemories } from './earlier-memories.ts';
import { partWith, provenWith, referenceOf } from './firewall/made-firewall.ts';
import { byValues, capturedFrom, madeProof, policyOf, replayedValues } from './made-proof.ts';
import { coversTcb, file, knowing, RunningNode } from './runtime/running-node.ts';

const at = Date.parse('2026-11-25T12:00:00Z');
const again = ' It has not been read again since.';
/** A node that has sent every part before. */
const sentAll: NodePast = { ...noPast, sentParts: partNames };
const log = recordedLog('debian13-shim-grub');
const well: HostFacts = {
  kernel: '6.12.48+deb13-amd64',
  tainted: 0,
  lockdown: 'integrity',
  listening: [6443],
  ssh: { ports: [], sockets: [], daemons: [] },
  sysctls: {},
};
const uuid = (digit: string) => `${digit.repeat(7)}0-1111-4111-8111-111111111111`;

function factsOf(host: HostFacts | undefined, unavailable?: Facts['unavailable']): Facts {
  const [bootId, helloDigest] = ['0'.repeat(36), '0'.repeat(64)];
  return { purpose: 'attest', node: 'one', bootId, helloDigest, host, unavailable };
}

const saying = (proven: Proven, host: HostFacts | undefined, unavailable?: Facts['unavailable']) =>
  provenByHand(proven, { facts: factsOf(host, unavailable) });
const unreadable = (proven: Proven, ...names: readonly (PartName | 'host' | 'running')[]) =>
  saying(proven, undefined, Object.fromEntries(names.map((name) => [name, 'EACCES'])));

const withoutList = (proven: Proven) => provenByHand(proven, { ima: null, aggregate: null });

/** A node that broke the policy in one aspect, and how it may hide that afterwards. */
interface Story {
  readonly aspect: AspectName;
  readonly what: string;
  readonly policy: Policy;
  readonly references?: readonly Reference[];
  readonly wrong: Proven;
  /** What shows that it is no more. */
  readonly good: Proven | null;
  /** Answers that do not show whether it is still so. */
  readonly hidden: Readonly<Record<string, Proven>>;
  readonly node?: Partial<NodePast>;
}

function stories(disk: DiskPart): readonly Story[] {
  const boot = madeProof({ log });
  const booted = { policy: policyOf('require: [identity, boot]'), references: [capturedFrom(boot)] };
  const values = replayedValues(log, 'sha256');
  const silent = madeProof({ values });
  const kexec = policyOf('require: [identity, boot]', 'severity: {kexec_possible: fail}');
  const claims = policyOf('require: [identity]', 'severity: {identity_claim_mismatch: fail}');
  const answered = madeProof({});

  const running = policyOf('require: [identity, runtime]', `runtime: {${coversTcb}, deny: ["/tmp/*"]}`);
  const files = [file('/usr/bin/a', 'a'), file('/usr/bin/b', 'b')];
  const known = knowing({ '/usr/bin/a': 'a', '/usr/bin/b': 'b' });
  const ran = new RunningNode().run(...files).answer();
  const evil = new RunningNode().run(...files, file('/tmp/evil', 'evil')).answer();
  const strict = policyOf(
    'require: [identity, runtime]',
    'runtime: {policy: {covers: [exec, mmap, modules, kexec, policy, rootReads], signed: required}}',
  );

  const opened: DiskPart = {
    ...disk,
    mounts: disk.mounts.map((line) => line.replaceAll('253:0', '254:64')),
  };
  const mapping = disk.devices.find(({ name }) => name === 'dm-0')?.mapping;
  assert.ok(mapping);
  const used = (cipher: string, bytes: number) =>
    tableInUse(mapping.name, mapping.uuid, '253:0', cryptLine(cipher, bytes));
  const encrypted = policyOf('require: [identity, disk]');

  const save = (input: string) =>
    ['*filter', `:INPUT ${input} [0:0]`, ':FORWARD DROP [0:0]', ':OUTPUT ACCEPT [0:0]', 'COMMIT', ''].join(
      '\n',
    );
  const wall = (input: string) => partWith({ iptables: { ip: save(input), ip6: save('DROP') } });

  const onHost = policyOf('require: [identity, host]');
  return [
    {
      aspect: 'identity',
      what: 'names another machine than its kubelet',
      policy: claims,
      node: { clusterUuid: uuid('a') },
      wrong: saying(answered, { systemUuid: uuid('b') }),
      good: saying(answered, { systemUuid: uuid('a') }),
      hidden: { 'no UUID': saying(answered, well), 'nothing of its host': answered },
    },
    {
      aspect: 'boot',
      what: 'booted another kernel',
      ...booted,
      wrong: madeProof({ log: tamper(log, 'kernel') }),
      good: boot,
      hidden: {
        'no log, in silence': silent,
        'a log that it could not read': unreadable(silent, 'boot'),
        'a log without what it cannot read of user space': unreadable(boot, 'userSpace'),
        'nothing of its kernel': unreadable(boot, 'host'),
      },
    },
    {
      aspect: 'boot',
      what: 'has other PCRs, by values alone',
      policy: policyOf('require: [identity, boot]', 'boot: {withoutLog: pcrs}'),
      references: [byValues(capturedFrom(boot), log)],
      node: { sentParts: [] },
      wrong: madeProof({ values: replayedValues(tamper(log, 'kernel'), 'sha256') }),
      good: silent,
      hidden: { 'what it could not read': unreadable(silent, 'boot') },
    },
    {
      aspect: 'boot',
      what: 'may start another kernel, which the policy refuses',
      ...booted,
      policy: kexec,
      wrong: saying(boot, { kexecLoadDisabled: false }),
      good: saying(boot, { kexecLoadDisabled: true }),
      hidden: { 'nothing of kexec': saying(boot, well), 'nothing of its host': boot },
    },
    {
      aspect: 'runtime',
      what: 'ran what is denied',
      policy: running,
      references: [known],
      wrong: evil,
      good: ran,
      hidden: {
        'no list, in silence': withoutList(evil),
        'a list that it could not read': withoutList(unreadable(evil, 'ima')),
      },
    },
    {
      aspect: 'runtime',
      what: 'measures less than the policy wants',
      policy: strict,
      references: [known],
      wrong: ran,
      good: null,
      hidden: { 'no boot log': provenByHand(ran, { boot: null }) },
    },
    {
      aspect: 'disk',
      what: 'has containers on an open disk',
      policy: encrypted,
      wrong: proofWith(opened),
      good: proofWith(disk),
      hidden: {
        'no part': proofWith(null),
        'no JSON': proofWith(Buffer.from('{')),
        'no headers': proofWith({ ...disk, inspected: { cause: 'it is 3 h old' } }),
        'no swap': proofWith(seenOtherwise(disk, { headers: [] })),
        'no table': proofWith(deviceOtherwise(disk, 'dm-0', { mapping: { ...mapping, table: null } })),
        'what it could not read': unreadable(proofWith(null), 'disk'),
      },
    },
    {
      aspect: 'disk',
      what: 'encrypts nothing, as its kernel measured',
      policy: encrypted,
      wrong: proofWithMappings(disk, used('cipher_null-ecb', 0)),
      good: proofWithMappings(disk, used('aes-xts-plain64', 64)),
      hidden: {
        'no list beside a part that says the contrary': withoutList(proofWith(disk)),
        'a list that it could not read': withoutList(unreadable(proofWith(disk), 'ima')),
        'no part': withoutList(proofWith(null)),
      },
    },
    {
      aspect: 'firewall',
      what: 'is open',
      policy: policyOf('require: [identity, firewall]'),
      references: [referenceOf(wall('DROP'))],
      wrong: provenWith(wall('ACCEPT')),
      good: provenWith(wall('DROP')),
      hidden: {
        'no rules': provenWith(null),
        'no JSON': provenWith(Buffer.from('{')),
        'rules that it could not read': unreadable(provenWith(null), 'firewall'),
      },
    },
    {
      aspect: 'host',
      what: 'has SSH',
      policy: onHost,
      wrong: saying(answered, { ...well, listening: [22] }),
      good: saying(answered, well),
      hidden: {
        'no ports': saying(answered, { ...well, listening: undefined }),
        'ports that it could not read': saying(answered, { ...well, unread: { listening: 'EACCES' } }),
        'nothing of its host': answered,
        'what its agent could not read': unreadable(answered, 'running'),
        'what it could not read': unreadable(answered, 'host'),
      },
    },
    {
      aspect: 'host',
      what: 'has an unsigned module though it is locked down',
      policy: onHost,
      wrong: saying(answered, { ...well, tainted: 1 << 13 }),
      good: saying(answered, well),
      hidden: {
        'no lockdown, in silence': saying(answered, { ...well, tainted: 1 << 13, lockdown: undefined }),
        'no taints': saying(answered, { ...well, tainted: undefined }),
      },
    },
  ];
}

const told = stories(await recordedPart('01-luks2'));

/** Judges one answer after the other, and forgets all but what a store keeps. */
class Judged {
  readonly #story: Story;
  memory: NodePast['memory'] = {};
  verdict: Verdict | null = null;

  constructor(story: Story, memory: NodePast['memory'] = {}) {
    this.#story = story;
    this.memory = memory;
  }

  by(proven: Proven, change: Partial<AppraisedNode> = {}, policy = this.#story.policy): Verdict {
    const past = { ...sentAll, ...this.#story.node, memory: this.memory };
    const node = { name: 'one', past, ...change };
    const { verdict, next } = appraise(proven, policy, node, this.#story.references ?? [], at);
    this.memory = JSON.parse(JSON.stringify(next.memory));
    this.verdict = verdict;
    return verdict;
  }
}

/** The first reason of the story's aspect that breaks the policy. */
function foundIn({ aspect }: Story, { reasons }: Verdict): Reason {
  const found = reasons.find((one) => one.aspect === aspect && one.severity === 'fail');
  return found ?? assert.fail(JSON.stringify(reasons));
}

const stands = (found: Reason, { state, reasons }: Verdict) => {
  const one = reasons.find(({ code, text }) => code === found.code && text === `${found.text}${again}`);
  assert.ok(one !== undefined, JSON.stringify(reasons));
  assert.deepEqual([state, one.actual, one.severity], ['untrusted', found.actual, 'fail']);
};

describe('what stood against a node', () => {
  it('is told of each aspect there is', () => {
    assert.deepEqual([...new Set(told.map(({ aspect }) => aspect))], aspects);
  });

  for (const story of told)
    describe(`whose ${story.aspect} ${story.what}`, () => {
      for (const [how, hidden] of Object.entries(story.hidden))
        it(`stands while it shows ${how} (row 348)`, () => {
          const node = new Judged(story);
          const found = foundIn(story, node.by(story.wrong));
          assert.equal(node.verdict?.state, 'untrusted');
          for (let answers = 0; answers < 3; answers++) stands(found, node.by(hidden));
        });

      if (story.good !== null)
        it('is taken back by what shows that it is no more', () => {
          const node = new Judged(story);
          node.by(story.wrong);
          for (const hidden of Object.values(story.hidden)) node.by(hidden);
          const { state, reasons } = node.by(story.good ?? assert.fail());
          assert.equal(state, 'trusted', JSON.stringify(reasons));
          assert.equal(Object(node.memory.against)[story.aspect], undefined);
        });

      it('stands where only its gate answers, or a policy asks for less meanwhile (row 348)', () => {
        const [hidden] = Object.values(story.hidden);
        assert.ok(hidden);
        const meanwhile: readonly ((node: Judged) => unknown)[] = [
          (node) => node.by(hidden, { by: 'gate' }),
          (node) =>
            node.by(hidden, {}, policyOf(`require: [${story.aspect === 'host' ? 'identity' : 'host'}]`)),
          (node) => node.by(hidden, {}, policyOf('require: [identity]', 'tpm: absent')),
        ];
        for (const happens of meanwhile) {
          const node = new Judged(story);
          const found = foundIn(story, node.by(story.wrong));
          happens(node);
          stands(found, node.by(hidden));
        }
      });

      const earlier = earlierMemories.find(
        ({ aspect, what }) => aspect === story.aspect && what === story.what,
      );
      if (earlier !== undefined)
        it('stands by what a store or a bundle of 0.3.0 says, and is kept there no more', () => {
          const found = foundIn(story, new Judged(story).by(story.wrong));
          for (const hidden of Object.values(story.hidden)) {
            const node = new Judged(story, earlier.memory);
            for (let answers = 0; answers < 2; answers++) stands(found, node.by(hidden));
            const { against: stored, ...others } = node.memory;
            assert.ok(Array.isArray(Object(stored)[story.aspect]));
            assert.ok(!JSON.stringify(others[story.aspect] ?? {}).includes(found.code));
            if (story.good !== null) assert.equal(node.by(story.good).state, 'trusted');
          }
        });

      it('is bounded, whatever stood there before', () => {
        const node = new Judged(story);
        const found = foundIn(story, node.by(story.wrong));
        const { class: _, detail: _lines, severity: _weight, ...kept } = found;
        const long = 'x'.repeat(100_000);
        const many = Array.from({ length: 100 }, () => ({
          ...kept,
          text: long,
          actual: long,
          expected: long,
        }));
        node.memory = { ...node.memory, against: { [story.aspect]: [...many, ...many] } };
        node.by(Object.values(story.hidden)[0] ?? assert.fail());
        assert.ok(JSON.stringify(node.memory.against).length < 8_192);
      });
    });
});

describe('what stood against a node, and counts no more', () => {
  const boot = madeProof({ log });
  const locked = siblingLog(log, { text: (text) => text.replace(' ro ', ' ro lockdown=integrity ') });
  const refusing = ['require: [identity, boot]', 'severity: {kexec_possible: fail}'] as const;
  const references = [boot, madeProof({ log: locked })].map((proven, index) =>
    capturedFrom(proven, { name: `boot-${index}` }),
  );
  const story: Story = {
    aspect: 'boot',
    what: 'may start another kernel',
    policy: policyOf(...refusing),
    references,
    wrong: saying(boot, { kexecLoadDisabled: false }),
    good: null,
    hidden: {},
  };

  it('is taken back by a command line that locks the kernel down, whatever the node says of kexec', () => {
    const node = new Judged(story);
    assert.equal(node.by(story.wrong).state, 'untrusted');
    const { state, reasons } = node.by(saying(madeProof({ log: locked }), well));
    assert.equal(state, 'trusted', JSON.stringify(reasons));
  });

  it('withholds nothing where the policy has it as the warning that it is, and stands if that is over', () => {
    const node = new Judged(story);
    const found = foundIn(story, node.by(story.wrong));
    const lenient = policyOf('require: [identity, boot]');
    for (const proven of [story.wrong, saying(boot, well)])
      assert.equal(node.by(proven, {}, lenient).state, 'trusted', JSON.stringify(node.verdict?.reasons));
    const again = new Judged(story);
    again.by(story.wrong);
    assert.equal(again.by(saying(boot, well), {}, lenient).state, 'trusted');
    stands(found, again.by(saying(boot, well)));
  });

  it('has nobody show IMA’s list for an aspect that the policy does not require', () => {
    const running = policyOf('require: [identity, runtime]', `runtime: {${coversTcb}, deny: ["/tmp/*"]}`);
    const evil = new RunningNode().run(file('/tmp/evil', 'evil')).answer();
    const judged = (memory: NodePast['memory'], policy: Policy) =>
      appraise(evil, policy, { name: 'one', past: { ...sentAll, memory } }, [], at);
    const { memory } = judged({}, running).next;
    assert.ok(Array.isArray(Object(memory.against).runtime));
    const without = policyOf('require: [identity, boot]');
    assert.deepEqual(judged({}, without).enough, ['ima']);
    assert.deepEqual(judged(memory, without).enough, ['ima']);
    assert.deepEqual(judged(memory, running).enough, []);
  });

  it('is told once where it is found again as mild as before', () => {
    const policy = policyOf('require: [identity, host]', 'severity: {kernel_tainted: fail}');
    const wrong = saying(madeProof({}), { ...well, tainted: 1 << 13, lockdown: undefined });
    const node = new Judged({ ...story, policy });
    for (let answers = 0; answers < 3; answers++) {
      const { state, reasons } = node.by(wrong);
      const found = reasons
        .filter(({ code }) => code === 'kernel_tainted')
        .map(({ text }) => text.endsWith(again));
      assert.deepEqual([state, found], ['untrusted', [false]]);
    }
  });
});
