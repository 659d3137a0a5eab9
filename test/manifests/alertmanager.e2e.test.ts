import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'mocha';
import { z } from 'zod';
import { exampleFile, exampleFor, hurried } from './alertmanager-example.ts';
import { amtool, type Receiver, startAlertmanager, startReceiver } from './prometheus-programs.ts';
import { readRules } from './promtool.ts';

const cluster = { cluster: 'one', instance: 'assay:9464' };
const other = 'other:9464';

/** By the alert that is told: alerts beside it that are not told, and some that are. */
const table: readonly {
  readonly told: Readonly<Record<string, string>>;
  readonly muted: readonly Readonly<Record<string, string>>[];
  readonly alsoTold: readonly Readonly<Record<string, string>>[];
}[] = [
  {
    told: { alertname: 'AssayMassFailure', code: 'kernel_unknown' },
    muted: [
      { alertname: 'AssayNodeChanged', code: 'kernel_unknown', class: 'drift', node: 'node-1' },
      { alertname: 'AssayNodeChangedSigned', code: 'kernel_unknown', class: 'drift', node: 'node-2' },
    ],
    alsoTold: [
      { alertname: 'AssayNodeChanged', code: 'initrd_unknown', class: 'drift', node: 'node-3' },
      { alertname: 'AssayNodeFailed', code: 'counter_rollback', class: 'failed', node: 'node-4' },
      { alertname: 'AssayNodePosture', code: 'secureboot_off', class: 'posture', node: 'node-5' },
      // A code of another class under this name would be no drift.
      { alertname: 'AssayNodeFailed', code: 'kernel_unknown', class: 'failed', node: 'node-6' },
      { alertname: 'AssayNodeChanged', code: 'kernel_unknown', class: 'drift', node: 'a', cluster: 'two' },
      { alertname: 'AssayNodeChanged', code: 'kernel_unknown', class: 'drift', node: 'b', instance: other },
      { alertname: 'AssayCircuitBreakerOpen', scope: 'drift' },
    ],
  },
  ...['AssayServerGone', 'AssayServerNotReady', 'AssayServerFault'].map((alertname) => ({
    told: { alertname },
    muted: [
      { alertname: 'AssayNodeSilent', code: 'server_fault', class: 'service', node: 'node-1' },
      { alertname: 'AssayManyNodesSilent' },
      { alertname: 'AssayNoAnswers' },
    ],
    alsoTold: [
      { alertname: 'AssayNodeFailed', code: 'counter_rollback', class: 'failed', node: 'node-4' },
      { alertname: 'AssayAuditRollback' },
      { alertname: 'AssayNodeSilent', code: 'evidence_overdue', node: 'node-1', cluster: 'two' },
      { alertname: 'AssayManyNodesSilent', instance: other },
    ],
  })),
  {
    told: { alertname: 'AssayServerGone', instance: '' },
    muted: [{ alertname: 'AssayManyNodesSilent' }, { alertname: 'AssayNoAnswers', instance: other }],
    alsoTold: [{ alertname: 'AssayNoAnswers', instance: other, cluster: 'two' }],
  },
  ...['AssayManyNodesSilent', 'AssayNoAnswers'].map((alertname) => ({
    told: { alertname },
    muted: [{ alertname: 'AssayNodeSilent', code: 'evidence_overdue', class: 'service', node: 'node-1' }],
    alsoTold: [
      { alertname: 'AssayNodePending', code: 'rebooted', class: 'service', node: 'node-2' },
      { alertname: 'AssayNodeSilent', code: 'evidence_overdue', node: 'node-1', instance: other },
    ],
  })),
  {
    told: { alertname: 'AssayClusterUnread', cause: 'unreachable' },
    muted: [
      { alertname: 'AssayEnforcementDrift' },
      { alertname: 'AssayResourceRefused' },
      { alertname: 'AssayNobodyMarks' },
      { alertname: 'AssayAgentMissing', node: 'node-9' },
      { alertname: 'AssayAgentsMissing' },
      { alertname: 'AssayMarksUnprotected', protects: 'marks', cause: 'unread' },
    ],
    alsoTold: [
      { alertname: 'AssayMarksUnprotected', protects: 'marks', cause: 'not_denying' },
      { alertname: 'AssayMarksUnprotected', protects: 'marks', cause: 'unread', instance: other },
      { alertname: 'AssayNodeChanged', code: 'kernel_unknown', class: 'drift', node: 'node-1' },
    ],
  },
  {
    told: { alertname: 'AssayAuditRollback' },
    muted: [{ alertname: 'AssayAuditShorter' }],
    alsoTold: [{ alertname: 'AssayAuditNotWritten' }, { alertname: 'AssayAuditShorter', instance: other }],
  },
  {
    told: { alertname: 'AssayAuthorityEndsSoon' },
    muted: [{ alertname: 'AssayAuthorityEnds' }],
    alsoTold: [{ alertname: 'AssayCertificateEnds' }],
  },
  {
    told: { alertname: 'AssayCertificateEnds' },
    muted: [{ alertname: 'AssayCertificateNotRenewed' }],
    alsoTold: [{ alertname: 'AssayReloadFailed', part: 'policy' }],
  },
];

describe('the example for Alertmanager', () => {
  it('is one, as amtool reads it', async () => {
    assert.match(
      await amtool('check-config', exampleFile),
      /SUCCESS[\s\S]*9 inhibit rules[\s\S]*2 receivers/,
    );
  });

  it('sends what is critical to the person on duty, and the rest to the tickets', async () => {
    for (const { alert, labels } of await readRules()) {
      const words = [`alertname=${alert}`, `severity=${labels.severity}`];
      const receiver = await amtool('config', 'routes', 'test', `--config.file=${exampleFile}`, ...words);
      assert.equal(receiver.trim(), labels.severity === 'critical' ? 'on-call' : 'tickets', alert);
    }
  });

  it('names in its rules alerts that are there, and only drift beside a mass failure', async () => {
    const text = await readFile(exampleFile, 'utf8');
    const known = new Set((await readRules()).map(({ alert }) => alert));
    const named = [...text.matchAll(/\bAssay[A-Z]\w+/g)].map(([name]) => name);
    assert.deepEqual(
      named.filter((name) => !known.has(name)),
      [],
    );
    const tried = [...table.map(({ told }) => told), ...table.flatMap(({ muted }) => muted)];
    assert.deepEqual(new Set(tried.map(({ alertname }) => alertname)), new Set(named));
  });

  it('is hurried for tests in its times alone', async () => {
    const text = await readFile(exampleFile, 'utf8');
    assert.match(hurried(text), /^ {2}group_wait: 500ms$/m);
    assert.equal(hurried('        for: 10m\n'), '        for: 10000ms\n');
    const without = (yaml: string) =>
      yaml.replace(/^ *(for|keep_firing_for|group_wait|group_interval|repeat_interval): .*$/gm, '');
    assert.equal(without(hurried(text)), without(text));
  });
});

describe('Alertmanager with the example', () => {
  let receiver: Receiver;
  let alertmanager: Awaited<ReturnType<typeof startAlertmanager>>;
  before(async () => {
    receiver = await startReceiver();
    alertmanager = await startAlertmanager(await exampleFor(receiver.url));
  });
  after(async () => {
    await alertmanager?.[Symbol.asyncDispose]();
    await receiver?.[Symbol.asyncDispose]();
  });

  async function post(alerts: readonly Readonly<Record<string, string>>[], ends?: string): Promise<void> {
    const severities = new Map((await readRules()).map(({ alert, labels }) => [alert, labels.severity]));
    const body = alerts.map((labels) => ({
      labels: { ...cluster, severity: severities.get(labels.alertname ?? ''), ...labels },
      ...(ends !== undefined && { endsAt: ends }),
    }));
    const answer = await fetch(`${alertmanager.url}/api/v2/alerts`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
    assert.equal(answer.status, 200, await answer.text());
  }

  const alertsView = z.array(
    z.object({
      labels: z.record(z.string(), z.string()),
      status: z.object({
        state: z.enum(['active', 'suppressed', 'unprocessed']),
        inhibitedBy: z.array(z.string()),
        silencedBy: z.array(z.string()),
      }),
    }),
  );

  /** Once Alertmanager has looked at each of them; what mutes others is known to it a moment later than that it is there. */
  async function statuses(count: number, muted: number): Promise<z.infer<typeof alertsView>> {
    for (const end = performance.now() + 15_000; ; ) {
      const answer = await fetch(`${alertmanager.url}/api/v2/alerts`);
      const found = alertsView.parse(await answer.json());
      const isSeen = found.length === count && found.every(({ status }) => status.state !== 'unprocessed');
      const inhibited = found.filter(({ status }) => status.inhibitedBy.length > 0);
      if ((isSeen && inhibited.length === muted) || performance.now() >= end) return found;
    }
  }

  for (const { told, muted, alsoTold } of table)
    it(`tells of ${told.alertname}${told.instance === '' ? ' at all' : ''}, and not of what it explains`, async () => {
      const all = [told, ...muted, ...alsoTold];
      await post(all);
      const found = await statuses(all.length, muted.length);
      const words = (labels: Readonly<Record<string, string>>) =>
        `${labels.alertname} ${labels.code} ${labels.node} ${labels.cluster ?? 'one'} ${labels.instance ?? cluster.instance}`;
      const inhibited = found.filter(({ status }) => status.inhibitedBy.length > 0);
      assert.deepEqual(
        inhibited.map(({ labels }) => words(labels)).sort(),
        muted.map((labels) => words(labels)).sort(),
      );
      assert.equal(found.length, all.length);
      await post(all, new Date(Date.now() - 1000).toISOString());
      for (const end = performance.now() + 15_000; ; ) {
        const left: unknown = await (await fetch(`${alertmanager.url}/api/v2/alerts`)).json();
        if (Array.isArray(left) && left.length === 0) break;
        assert.ok(performance.now() < end);
      }
    });

  it('is silenced as a runbook says it', async () => {
    const page = await readFile(
      join(import.meta.dirname, ...['..', '..', 'docs', 'runbooks', 'AssayNodeChanged.md']),
      'utf8',
    );
    const [, line = ''] = /^amtool (silence add .*)$/m.exec(page) ?? [];
    const words = (line.match(/--comment="[^"]*"|\S+/g) ?? []).map((word) =>
      word.replaceAll('"', '').replace('http://localhost:9093', alertmanager.url),
    );
    const labels = { code: 'kernel_unknown', class: 'drift' };
    await post([
      { alertname: 'AssayNodeChanged', node: 'node-2', ...labels },
      { alertname: 'AssayNodeChanged', node: 'node-3', ...labels },
    ]);
    assert.match(await amtool(...words, '--author=test'), /^[0-9a-f-]{36}\s*$/);
    const silenced = async () => (await statuses(2, 0)).filter(({ status }) => status.silencedBy.length > 0);
    for (const end = performance.now() + 15_000; (await silenced()).length === 0; )
      assert.ok(performance.now() < end);
    assert.deepEqual(
      (await silenced()).map(({ labels: { node } }) => node),
      ['node-2'],
    );
  });
});
