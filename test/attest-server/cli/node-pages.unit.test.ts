import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { describe, it } from 'mocha';
import { type NodeView, nodeView } from '../../../attest-server/api/node-api.ts';
import type { Client } from '../../../attest-server/cli/client.ts';
import { describeNodes } from '../../../attest-server/cli/commands/describe.ts';
import { explainNodes } from '../../../attest-server/cli/commands/why.ts';
import type { CliContext } from '../../../attest-server/cli/context.ts';
import { nodeTable } from '../../../attest-server/cli/node-table.ts';
import { type ReasonCode, reasonCodes } from '../../../attest-server/wire/reasons.ts';
import { aspects, type Reason } from '../../../attest-server/wire/verdict.ts';
import { now, reasonOf } from '../http/api-fixture.ts';

const instant = (ago: number) => new Date(now - ago * 1000).toISOString();
const evidence = `0123456789ab${'c'.repeat(52)}`;
const log = 'd'.repeat(64);
const advice = [
  `If the change is wanted${' and so on'.repeat(12)}, do this:`,
  `  assay reference capture node-2 --name ${'node-2-20261120-1100-'.repeat(6)}`,
  'If not, do that.',
].join('\n');

/** All that an answer of today has. */
const view: NodeView = nodeView.parse({
  name: 'node-2',
  state: 'untrusted',
  reason: 'kernel_unknown',
  reasons: [
    {
      ...reasonOf('kernel_unknown', {
        text: `event 94 ${'measured something '.repeat(10)}`.trim(),
        expected: `vmlinuz sha256:${'e'.repeat(64)}`,
        actual: `the last one of ${instant(16)}`,
      }),
      evidence: { digest: log, position: 'event 94', bundle: evidence },
      next: advice,
    },
  ],
  aspects: { boot: { status: 'contraindicated', source: 'tpm' } },
  bootedAt: instant(600),
  bootSeenAt: instant(540),
  verifiedAt: instant(5),
  expiresAt: instant(-60),
  group: 'workers',
  tpm: 'IBM',
  kernel: '6.12.1',
  policy: 'strict@0123456789ab',
  require: ['identity', 'boot'],
  mode: 'enforce',
  bound: 'approval',
  tpmClass: 'virtual',
  since: instant(300),
  enrolledAt: instant(86_400 * 3),
  enrolledBy: 'token:alice',
  ek: 'f'.repeat(64),
  address: '10.0.0.7',
  connectedAt: instant(7200),
  agent: '0.2.0',
  evidence,
  references: [{ name: 'workers-1', by: 'token:bob', since: instant(86_400) }],
  claims: [
    {
      ek: '9'.repeat(64),
      code: 'ak_mismatch',
      attempts: 4,
      firstSeen: instant(900),
      lastSeen: instant(90),
      address: '10.0.0.9',
    },
  ],
  transitions: [
    { at: instant(300), state: 'untrusted', reason: 'kernel_unknown' },
    { at: instant(400), state: 'trusted', reason: null },
  ],
});

// biome-ignore lint/suspicious/noControlCharactersInRegex: naming them is the point
const untamed = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/;

type Show = (context: CliContext) => Promise<void>;

/** What a command prints of this answer, on a terminal of so many columns; null: on none. */
async function shown(show: Show, columns: number | null = null, answer: object = view): Promise<string> {
  let out = '';
  const server: Pick<Client, 'get'> = { get: async (_path, schema) => schema.parse(answer) };
  await show({
    version: '0',
    io: {
      out: (text) => {
        out += text;
      },
      err: () => {},
      env: {},
      cwd: '/',
      colour: false,
      columns,
      ask: null,
      stdin: Readable.from([]),
      interrupted: () => new AbortController().signal,
      now: () => now,
    },
    // These commands only get.
    server: async () => server as Client,
    exitWith: () => {},
  });
  return out;
}

const why: Show = (context) => explainNodes(context, ['node-2'], { output: 'table' });
const describing: Show = (context) => describeNodes(context, ['node-2'], { output: 'table' });
const widest = (text: string, isCounted: (line: string) => boolean = () => true) =>
  Math.max(
    ...text
      .split('\n')
      .filter(isCounted)
      .map((line) => line.length),
  );
const isProse = (line: string) => !line.trimStart().startsWith('assay ');

describe('the pages about one node', () => {
  it('say which key its latest boot did not get, why, since when, and what to do, and call it no problem of the node', async () => {
    const refused = {
      volume: '11111111-2222-4333-8444-555555555555',
      name: 'docker',
      code: 'root_unmeasured',
      text: 'nothing that was measured vouches for the root file system',
      at: instant(120),
      next: 'Boot from dm-verity.',
    };
    const trusted = { ...view, state: 'trusted', reason: null, reasons: [] };
    const page = await shown(why, 120, { ...trusted, refusedKeys: [refused, { ...refused, name: null }] });
    assert.match(page, /^node-2 is trusted/);
    assert.match(page, /^ {2}no key for volume docker: root_unmeasured: nothing that was measured vouches/m);
    assert.match(page, /^ {4}since +\S+ \(2m ago\)\n {4}next +Boot from dm-verity\.$/m);
    assert.match(page, /^ {2}no key for volume 11111111\S+, which is none of this node: /m);
    assert.doesNotMatch(page, /no problem was found/);
  });

  it('say what a node would boot next and that it says so itself, and call it no problem of the node', async () => {
    const next = 'Approve it:\n  assay reference approve r --reason "it is installed"';
    const causes = [
      { text: 'The newest kernel /boot/vmlinuz-6.12 is in no reference.', since: instant(120), next },
      { text: 'The initrd /boot/initrd.img-6.12 is in no reference.', since: null, next },
    ];
    const trusted = { ...view, state: 'trusted', reason: null, reasons: [] };
    const page = (answer: string, hasLease: boolean, its: object[] = causes) =>
      shown(why, 120, { ...trusted, nextBoot: { answer, hasLease, causes: its } });
    const refused = await page('would_not', true);
    assert.match(refused, /^node-2 is trusted .*\n {2}no problem was found$/m);
    assert.match(
      refused,
      /^ {2}it would get no key at its next boot, by what the node says lies on its disk$/m,
    );
    assert.match(refused, /^ {4}because +The newest kernel .* It lies there since \S+ \(2m\s+ago\)\.$/m);
    assert.equal(refused.split('assay reference approve r').length, 2);
    assert.match(await page('would_not', false), /would not be trusted after its next boot/);
    assert.match(await page('unknown', true), /whether it would get a key at its next boot is not known/);
    assert.match(await page('would', false, []), /the next boot would be affirmed, by what the node says/);
    assert.doesNotMatch(await shown(why, 120, { ...trusted, nextBoot: null }), /next boot/);
  });

  for (const [name, page] of [
    ['why', why],
    ['describe', describing],
  ] as const) {
    it(`${name}: prose is as wide as the terminal, or 100 columns where there is none`, async () => {
      for (const columns of [60, 80, 132]) {
        const width = widest(await shown(page, columns), isProse);
        assert.ok(width <= columns && width > columns - 20, `${columns}: ${width}`);
      }
      assert.ok(widest(await shown(page), isProse) <= 100);
    });

    it(`${name}: a command is alone on its line and whole, however narrow the terminal is`, async () => {
      const [, command = ''] = advice.split('\n');
      for (const columns of [20, 60, null]) {
        const lines = (await shown(page, columns)).split('\n').map((line) => line.trim());
        assert.ok(lines.includes(command.trim()), String(columns));
      }
    });

    it(`${name}: has the commands for each reason that stands by itself, and says once what is for several`, async () => {
      const reason = (code: ReasonCode, next: string, more: Partial<Reason> = {}) => ({
        ...reasonOf(code, { text: code, ...more }),
        next,
      });
      const unread = { aspect: 'disk', actual: 'inspect did not run' } as const;
      const reasons = [
        reason('kernel_unknown', 'Do this:\n  assay boot diff node-2'),
        reason('initrd_unknown', 'Do this:\n  assay boot diff node-2'),
        reason('facts_unavailable', 'Do that:\n  systemctl status a', unread),
        reason('facts_unavailable', 'Do that:\n  systemctl status a', { ...unread, expected: 'b' }),
        reason('lockdown_off', 'Do more:\n  systemctl status c', { aspect: 'host' }),
      ];
      const text = await shown(page, 100, nodeView.parse({ ...view, reasons }));
      const marks = text.match(
        /(?:kernel|initrd)_unknown(?= \(|:)|assay boot diff|status \w$|lockdown_off(?= \(|:)/gm,
      );
      assert.deepEqual(
        marks?.filter((mark, at) => marks.indexOf(mark) === at),
        ['kernel_unknown', 'initrd_unknown', 'assay boot diff', 'status a', 'lockdown_off', 'status c'],
      );
      for (const command of ['boot diff', 'status a', 'status c'])
        assert.equal(text.split(command).length, 2, text);
    });

    it(`${name}: names the evidence that other commands take, by twelve digits`, async () => {
      const out = await shown(page);
      assert.match(out, /\b0123456789ab at event 94\b/);
      assert.doesNotMatch(out, /[0-9a-f]{13}/);
    });

    it(`${name}: says how long ago a moment was, also one in a text, or with --utc only when`, async () => {
      assert.match(await shown(page), /the last one of 2026-11-20T11:59:44Z \(16s ago\)/);
      const command = name === 'why' ? explainNodes : describeNodes;
      const absolute = await shown((context) => command(context, ['node-2'], { output: 'table', utc: true }));
      assert.match(absolute, /the last one of 2026-11-20T11:59:44Z$/m);
      assert.doesNotMatch(absolute, /\d[smhd] ago/);
    });
  }

  it('why: says once what to do about several reasons, below the last of them', async () => {
    const [first] = view.reasons;
    const reasons = [4, 8, 9].map((pcr) => ({ ...first, text: `PCR ${pcr} differs` }));
    const other = { ...first, text: 'something else', next: 'Do that.' };
    const several = nodeView.parse({ ...view, reasons: [...reasons, other] });
    const page = await shown(why, 100, several);
    const marks = page.match(/PCR \d|something else|If not, do that|Do that/g);
    assert.deepEqual(marks, ['PCR 4', 'PCR 8', 'PCR 9', 'If not, do that', 'something else', 'Do that']);
  });

  it('why: has no line for what is not known, and names an aspect once', async () => {
    const reasons = [reasonOf('evidence_overdue', { aspect: 'identity', expected: null, actual: null })];
    const page = await shown(why, 100, nodeView.parse({ ...view, reasons }));
    assert.match(page, /^ {4}component {2}identity \(service, fail\)\n {4}source /m);
  });

  it('gives programs the whole of it: next, since, evidence', async () => {
    const json = JSON.parse(await shown((context) => explainNodes(context, ['node-2'], { output: 'json' })));
    assert.deepEqual([json.since, json.evidence, json.reasons[0].next], [view.since, evidence, advice]);
    assert.deepEqual(json.reasons[0].evidence, { digest: log, position: 'event 94', bundle: evidence });
    const whole = await shown((context) => describeNodes(context, ['node-2'], { output: 'json' }));
    assert.deepEqual(JSON.parse(whole), view);
    const yaml = await shown((context) => explainNodes(context, ['node-2'], { output: 'yaml' }));
    assert.ok(yaml.includes(`\n        ${advice.split('\n')[1]?.trim()}\n`), yaml);
  });

  it('describe: shows all that the server knows', async () => {
    const out = await shown(describing, 200);
    for (const line of [
      /^Since: +2026-11-20T11:55:00Z \(5m ago\)$/m,
      /^Booted: +2026-11-20T11:50:00Z \(10m ago\)/m,
      /^Connected: +since 2026-11-20T10:00:00Z/m,
      /^Address: +10\.0\.0\.7$/m,
      /^Agent: +0\.2\.0 /m,
      /^Enrolled: +2026-11-17T12:00:00Z/m,
      /^Bound by: +approval \(token:alice\)$/m,
      /^EK: +f{12}$/m,
      /^Evidence: +0123456789ab$/m,
      /^Boots like: +reference workers-1 \(token:bob, 2026-11-19T12:00:00Z/m,
      /^Claimed by: +the TPM 9{12}: refused 4 times since .*from 10\.0\.0\.9: ak_mismatch$/m,
      /^Changes: +2026-11-20T11:55:00Z \(5m ago\) untrusted: kernel_unknown\n +2026-11-20T11:53:20Z \(6m ago\) trusted$/m,
    ])
      assert.match(out, line);
  });

  it('say that a root vouches for the TPM only where one does', async () => {
    const endorsed = async (change: object) =>
      /^ {2}endorsed +(.*)$/m.exec(await shown(why, 200, { ...view, ...change }))?.[1];
    const root = 'a'.repeat(64);
    assert.deepEqual(
      [
        await endorsed({}),
        await endorsed({ tpmClass: 'unknown', tpm: null }),
        await endorsed({ endorsedBy: root }),
        await endorsed({ endorsedBy: root, tpmClass: 'unknown', tpm: null }),
      ],
      [
        'IBM; virtual, as its own certificate says; no root that the server trusts vouches for it',
        'no root that the server trusts vouches for it',
        'IBM; virtual, according to a trusted root',
        'of an unknown kind, according to a trusted root',
      ],
    );
  });

  it('obey nothing that a server says, also in its advice', async () => {
    const [reason] = view.reasons;
    const next = 'Do this:\n  assay get nodes \u001b[2J\u009b2J\r\nor \u202ethat\u0007';
    const answer = { ...view, reasons: [{ ...reason, next }], agent: '\u001b]0;x\u0007' };
    for (const page of [why, describing]) assert.doesNotMatch(await shown(page, 80, answer), untamed);
  });

  it('shows a file that ran by its place in the list, its whole digest, and how long ago it was seen', async () => {
    const reasons = [
      reasonOf('ima_unknown_file', {
        evidence: { digest: log, position: 'entry 107' },
        detail: [`entry 107: /bin/x sha256:${log} (first seen ${instant(120)})`],
      }),
    ];
    const text = await shown(why, 80, nodeView.parse({ ...view, reasons }));
    assert.match(text, /^ +evidence +entry 107 of IMA’s list, file d{12}$/m);
    assert.match(text, /^ +entry 107: \/bin\/x sha256:d{64} \(first seen \S+Z \(2m ago\)\)$/m);
  });

  it('say of a node that is not untrusted any more that it was until a short time ago, and how to see why', async () => {
    const untrusted = { at: instant(400), state: 'untrusted', reason: 'kernel_unknown' };
    const pageOf = (state: string, ...transitions: readonly object[]) =>
      shown(why, 200, { ...view, state, reasons: [], reason: null, transitions });
    for (const state of ['trusted', 'pending', 'unknown']) {
      const text = await pageOf(state, { at: instant(60), state, reason: null }, untrusted);
      assert.match(
        text,
        /^ {2}It was untrusted \(kernel_unknown\) from 2026-11-20T11:53:20Z \(\S+ ago\) until 2026-11-20T11:59:00Z \(60s ago\)\. See what it showed then:\n {4}assay history node-2 --transitions$/m,
      );
    }
    const later = [{ at: instant(9), state: 'unknown', reason: 'evidence_overdue' }] as const;
    const trusted = { at: instant(60), state: 'trusted', reason: null };
    assert.match(await pageOf('unknown', ...later, trusted, untrusted), /until 2026-11-20T11:59:00Z/);
    const dayAgo = { at: instant(86_401), state: 'trusted', reason: null };
    const never = /It was untrusted/;
    assert.doesNotMatch(await pageOf('trusted', dayAgo, { ...untrusted, at: instant(90_000) }), never);
    assert.doesNotMatch(await pageOf('untrusted', untrusted, trusted), never);
    assert.doesNotMatch(await pageOf('trusted', trusted), never);
  });

  it('say since when an agent is not connected, and how its kubelet is', async () => {
    const disconnected = { at: instant(90), by: 'agent', status: 1011, reason: 'tpm_broker' };
    const text = await shown(why, 120, { ...view, connectedAt: null, disconnected, kubeletReady: 'Unknown' });
    assert.match(
      text,
      /not connected +since 2026-11-20T11:58:30Z \(90s ago\), last from 10\.0\.0\.7, agent 0\.2\.0$/m,
    );
    assert.match(text, /^ +kubelet +Ready is Unknown$/m);
  });

  it('take the answer of an earlier server, which knows less', async () => {
    const { name, state, reason, aspects, bootedAt, verifiedAt, expiresAt, group, tpm } = view;
    const { kernel, policy, require, mode, bound, tpmClass } = view;
    const reasons = [reasonOf('kernel_unknown', { evidence: { digest: log, position: 'event 94' } })];
    const earlier = { name, state, reason, reasons, aspects, bootedAt, verifiedAt, expiresAt, group, tpm };
    const answer = { ...earlier, kernel, policy, require, mode, bound, tpmClass };
    assert.match(
      await shown(why, null, answer),
      /part d{12} at event 94\n.*\n.*\n +assay reference capture node-2 /,
    );
    assert.match(await shown(describing, null, answer), /^Since: +-$/m);
  });
});

describe('the table of nodes', () => {
  const narrowTable = { wide: false, headers: true, colour: false, now };
  const row = (node: Partial<NodeView>, utc = false) =>
    (nodeTable([{ ...view, ...node }], { ...narrowTable, utc }).split('\n')[1] ?? '').split(/ {2,}/);

  it('has a meaning for each of its times', () => {
    assert.deepEqual(row({}).slice(3), ['5m', '10m', '5s', '3d']);
    assert.deepEqual(row({}, true).slice(3), [
      '2026-11-20T11:55:00Z',
      '2026-11-20T11:50:00Z',
      '2026-11-20T11:59:55Z',
      '2026-11-17T12:00:00Z',
    ]);
  });

  const affirming = Object.fromEntries(
    aspects.map((aspect) => [aspect, { status: 'affirming', source: 'tpm' } as const]),
  );

  it('counts the aspects that are required and affirmed, of all that there are, and names them where it is wide', () => {
    const trusted = { ...view, state: 'trusted', aspects: affirming } as const;
    const state = (node: Partial<NodeView>) => row({ ...trusted, ...node })[1];
    assert.equal(state({ require: ['identity'] }), 'trusted 1/6');
    assert.equal(state({ require: [...aspects] }), 'trusted 6/6');
    assert.equal(state({ require: ['identity'], trial: true }), 'trusted 1/6 (trial)');
    assert.equal(state({ goneSince: instant(60) }), 'trusted (gone)');
    assert.equal(state({ state: 'untrusted' }), 'untrusted');
    // Never more than is shown to be so.
    assert.equal(state({ require: ['identity', 'boot'], aspects: {} }), 'trusted 0/6');
    const options = { wide: true, headers: false, utc: false, colour: false, now };
    assert.match(nodeTable([trusted], options), / {2}trusted \(identity, boot\) {2}/);
  });

  it('fits 80 columns whatever the reason and its times', () => {
    const reason = reasonCodes.toSorted((a, b) => b.length - a.length)[0] ?? null;
    const times = { bootedAt: null, bootSeenAt: instant(86_400 * 364), verifiedAt: instant(3599) };
    const failing = { ...view, name: 'worker-127', reason, since: instant(86_400 * 99), ...times };
    const trusted: NodeView = { ...view, state: 'trusted', aspects: affirming, require: [...aspects] };
    const text = nodeTable([failing, trusted], { ...narrowTable, utc: false });
    for (const line of text.split('\n')) assert.ok(line.length <= 80, `${line.length}: ${line}`);
  });

  it('never tells a wrong time of a boot: where its begin is not known, it was before its first proof', () => {
    assert.deepEqual(row({ bootedAt: null })[4], '>9m');
    assert.deepEqual(row({ bootedAt: null }, true)[4], 'before 2026-11-20T11:51:00Z');
    assert.deepEqual(row({ bootedAt: null, bootSeenAt: null })[4], '-');
  });

  it('lets no text of others look like a column or a line of its own', async () => {
    const kernel = '6.12.1  strict@0123456789ab  -\u00a0\u2003enforce';
    const options = { wide: true, headers: false, utc: true, colour: false, now };
    const row = nodeTable([{ ...view, kernel }], options).trimEnd();
    const plain = nodeTable([{ ...view, kernel: '6.12.1' }], options).trimEnd();
    assert.equal(row.split(/\p{Zs}{2,}/u).length, plain.split(/\p{Zs}{2,}/u).length, row);
    // A terminal would go on with it at the begin of its next line.
    const [reason] = view.reasons;
    const actual = `${'x'.repeat(80)}\u00a0\u00a0\u00a0\u00a0next\u00a0\u00a0\u00a0reboot`;
    const said = [{ ...reason, actual }];
    const text = await shown(why, 80, nodeView.parse({ ...view, reasons: said }));
    const wide = text.split('\n').filter((line) => [...line].length > 80);
    assert.deepEqual(wide.filter(isProse), [], text);
  });
});
