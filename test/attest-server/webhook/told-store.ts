import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { NodeStatus } from '../../../attest-server/attest/ports.ts';
import { changeRecord } from '../../../attest-server/attest/verdict-record.ts';
import { auditReader } from '../../../attest-server/audit/reader.ts';
import { createMessages } from '../../../attest-server/events/messages.ts';
import type { AuditAction, AuditEvent } from '../../../attest-server/formats/audit.ts';
import type { DeliveryResult } from '../../../attest-server/formats/webhook.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { openWebhook, type Webhook, type WebhookTimings } from '../../../attest-server/webhook/open.ts';
import type { NodeState, Verdict } from '../../../attest-server/wire/verdict.ts';
import { madeEvent, madeNode, madeStatus } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

/** A real store, and the webhook over it; what it reports is kept. */
export class ToldStore implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'assay-webhook-'));
  readonly secret = randomBytes(32);
  readonly results: DeliveryResult[] = [];
  readonly said: string[] = [];
  /** Milliseconds by which the clock of the wall is ahead. */
  ahead = 0;
  clusterUid: (() => Promise<string>) | null = null;
  caFile: string | null = null;
  webhook: Webhook | null = null;
  #store: Store | null = null;

  constructor() {
    this.writeSecrets(this.secret);
  }

  get secretFile(): string {
    return join(this.folder, 'webhook.secret');
  }

  writeSecrets(...secrets: readonly Buffer[]): void {
    const lines = secrets.map((secret) => `whsec_${secret.toString('base64')}\n`);
    writeFileSync(this.secretFile, lines.join(''), { mode: 0o600 });
  }

  get store(): Store {
    if (this.#store === null) throw new Error('open it first');
    return this.#store;
  }

  /** @param url null: no webhook */
  async open(url: string | null, timings: WebhookTimings = {}): Promise<Webhook> {
    this.#store ??= await openMadeStore(join(this.folder, 'state', 'assay.db'));
    const { store, secretFile, caFile } = this;
    this.webhook = await openWebhook(
      url === null ? null : { url, secretFile, caFile },
      {
        log: auditReader(store.audit, 'webhook'),
        messages: createMessages({
          store: store.events,
          clusterUid: this.clusterUid,
          monotonic: () => performance.now(),
        }),
        now: () => Date.now() + this.ahead,
        monotonic: () => performance.now(),
        audit: (event) => store.audit.append(event),
        report: {
          delivered: (result, count) => this.results.push(...Array(count).fill(result)),
          failing: (text) => this.said.push(`failing: ${text}`),
          works: (dropped) => this.said.push(`works, ${dropped} dropped`),
          fault: (error) => this.said.push(`fault: ${String(error)}`),
        },
      },
      { lookEvery: 5, firstWait: 1, longestWait: 20, ...timings },
    );
    return this.webhook;
  }

  async closeWebhook(): Promise<void> {
    await this.webhook?.[Symbol.asyncDispose]();
    this.webhook = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeWebhook();
    await this.#store?.[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }

  async enrol(name: string): Promise<void> {
    await this.store.enrolment.enrol(madeNode(name), madeEvent('enrol', name));
  }

  /** Commits a verdict as the server does. */
  async judge(name: string, verdict: Verdict, from: NodeState | null, at = Date.now()): Promise<void> {
    const status: NodeStatus = madeStatus(madeNode(name), verdict, at);
    await this.store.verdicts.recordChange(changeRecord(status, at, [verdict], from, []));
  }

  async log(action: AuditAction, subject: string, change: Partial<AuditEvent> = {}): Promise<void> {
    const event: AuditEvent = { at: Date.now(), actor: 'server', action, subject, code: null, detail: {} };
    await this.store.audit.append({ ...event, ...change });
  }

  async actions(): Promise<readonly string[]> {
    return (await this.store.audit.entries({ limit: 1000 })).map(({ action }) => action);
  }
}

/** Waits for what the next turns bring. */
export async function until(is: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 10_000;
  while (!(await is())) {
    if (Date.now() > end) throw new Error('it did not come true within 10 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
