import assert from 'node:assert/strict';
import { Attestation } from '../../../attest-server/attest/attestation.ts';
import type { ListedNode } from '../../../attest-server/http/node-list.ts';
import { listNodes } from '../../../attest-server/http/node-list.ts';
import { shownStore } from '../../../attest-server/http/shown-store.ts';
import { observePolicy } from '../../../attest-server/policy/shipped/built-in.ts';
import type { PresenceReport } from '../../../attest-server/presence/ports.ts';
import { Presence, type PresenceConfig } from '../../../attest-server/presence/presence.ts';
import type { Store } from '../../../attest-server/store/open.ts';
import { type MadeMachine, madeMachine, madePorts } from '../attest/made-machine.ts';
import { MadeCluster, madeClusterNode } from '../marking/made-cluster.ts';
import { madeEvent } from '../store/made-records.ts';
import { openMadeStore } from '../store/made-store.ts';

export const minute = 60_000;
export const day = 86_400_000;
const config: PresenceConfig = { goneAfter: 10 * minute, archiveAfter: 30 * day };

/** Real nodes over a real store, in a cluster in memory, and one clock for all of them, which the test moves. */
export class Fleet {
  readonly cluster = new MadeCluster();
  readonly machines = new Map<string, MadeMachine>();
  readonly connected = new Set<string>();
  readonly told: string[] = [];
  isSynced = true;
  ownNode: string | null = null;
  now = Date.parse('2026-11-20T12:00:00Z');
  store: Store;
  attestation!: Attestation;
  presence!: Presence;

  private constructor(store: Store) {
    this.store = store;
  }

  /** @param path of the store; in memory where left out */
  static async open(path = ':memory:'): Promise<Fleet> {
    const fleet = new Fleet(await openMadeStore(path));
    // A cluster has at least the Node on which its own programs run.
    fleet.cluster.add(madeClusterNode('control-plane'));
    await fleet.start();
    return fleet;
  }

  /** As a server starts on that store. */
  async start(inCluster = true): Promise<void> {
    const report: PresenceReport = {
      gone: (names, isMost) => this.told.push(`gone ${names.length}${isMost ? ', most' : ''}`),
      back: (name, by) => this.told.push(`back ${name} ${by}`),
      archived: (count) => this.told.push(`archived ${count}`),
      doubted: (doubt) => this.told.push(`doubt ${doubt}`),
      fault(error) {
        throw error;
      },
    };
    const { store } = this;
    const now = () => this.now;
    const nodes = { ...this.cluster.nodes, synced: () => this.isSynced };
    const ports = { store: store.presence, nodes: inCluster ? nodes : null, now, monotonic: now, report };
    const presence = new Presence({ ...ports, ownNode: this.ownNode }, config, await store.presence.load());
    this.presence = presence;
    const attestation = await Attestation.open(
      madePorts(store, {
        policy: observePolicy,
        now,
        monotonic: now,
        // The row of each hour is told by time, not by who comes and goes.
        summaryEvery: 1000 * day,
        presence: {
          isAway: (name) => presence.isAway(name),
          recalled: (name) => presence.recalled(name),
        },
        recorded: ({ node }) => presence.proven(node),
      }),
      null,
    );
    this.attestation = attestation;
    presence.begin({
      status: (name) => attestation.status(name),
      statuses: () => attestation.statuses(),
      recall: (name) => attestation.lives.recall(name),
      archive: (names, work) => attestation.lives.archive(names, work),
      isConnected: (name) => this.connected.has(name),
    });
  }

  async enrol(...names: readonly string[]): Promise<void> {
    for (const name of names) {
      const machine = madeMachine(name);
      this.machines.set(name, machine);
      await this.store.enrolment.enrol(machine.record, madeEvent('enrol', name));
    }
  }

  /** A proven answer. */
  async prove(name: string, change: Parameters<MadeMachine['answer']>[1] = {}): Promise<string> {
    const machine = this.machines.get(name) ?? assert.fail(name);
    const judged = await this.attestation.judge(machine.node, machine.answer(this.now, change));
    return 'state' in judged ? judged.state : assert.fail('it was asked for files');
  }

  async up(...names: readonly string[]): Promise<void> {
    for (const name of names) {
      this.cluster.add(madeClusterNode(name, { uid: `uid of ${name} at ${this.now}` }));
      this.connected.add(name);
      await this.prove(name);
    }
  }

  down(...names: readonly string[]): void {
    for (const name of names) {
      this.cluster.nodesByName.delete(name);
      this.connected.delete(name);
    }
  }

  /** Time passes; the server does what it does each second, and connected nodes answer. */
  async pass(ms: number, step = minute): Promise<void> {
    for (let left = ms; left > 0; left -= step) {
      this.now += Math.min(left, step);
      for (const name of this.connected) await this.prove(name);
      await this.look();
    }
  }

  async look(): Promise<void> {
    await this.attestation.sweep();
    await this.presence.look();
  }

  async views(withGone = false): Promise<ReturnType<ListedNode['view']>[]> {
    const { enrolment, verdicts, references } = this.store;
    const inMemory = {
      status: (name: string) => this.attestation.status(name),
      statuses: () => this.attestation.statuses(),
      serverFault: () => null,
    };
    const store = shownStore({ enrolment, verdicts, references }, inMemory);
    const ports = {
      store,
      presence: this.presence,
      enrolment: { unsupported: () => [], claims: () => new Map() },
      connected: () => null,
      ended: () => null,
      kubeletReady: () => null,
      now: () => this.now,
    };
    return (await listNodes(ports, withGone)).map(({ view }) => view());
  }

  async listed(withGone = false): Promise<readonly string[]> {
    return (await this.views(withGone)).map(({ name, state }) => `${name} ${state}`);
  }

  async actions(): Promise<readonly string[]> {
    const entries = await this.store.audit.entries({ limit: 1000 });
    return entries
      .filter(({ action }) => action.startsWith('node.'))
      .map(
        ({ action, subject, detail }) =>
          `${action} ${subject}${detail.by === undefined ? '' : ` ${detail.by}`}`,
      );
  }

  async close(): Promise<void> {
    await this.attestation.idle();
    await this.store[Symbol.asyncDispose]();
  }
}
