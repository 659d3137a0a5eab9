import type { NodeState, Verdict } from '../wire/verdict.ts';
import type { OwnedNode } from './owned-node.ts';
import type { AttestPorts, NodeStatus } from './ports.ts';
import { changeRecord } from './verdict-record.ts';
import type { RecordedVerdicts, VerdictRows } from './verdict-rows.ts';

/** Writes what was decided of a node, and shows and tells it once it is on disk. */
export class Commits {
  readonly #ports: Pick<AttestPorts, 'verdicts' | 'duration' | 'recorded' | 'now'>;
  readonly #rows: VerdictRows;

  constructor(ports: Pick<AttestPorts, 'verdicts' | 'duration' | 'recorded' | 'now'>, rows: VerdictRows) {
    this.#ports = ports;
    this.#rows = rows;
  }

  /** @param write false if nothing was written */
  async commit(
    node: OwnedNode,
    { record, told }: Pick<RecordedVerdicts, 'record' | 'told'>,
    before: NodeState | null,
    write?: () => Promise<boolean>,
  ): Promise<void> {
    const started = performance.now();
    if (write === undefined) await this.#ports.verdicts.recordChange(record);
    else if (!(await write())) return;
    node.showStored(record.status);
    this.#rows.written(node, record);
    this.#ports.duration('record', (performance.now() - started) / 1000);
    let from = before;
    for (const entry of told) {
      this.#ports.recorded({ node: node.name, ...entry }, from);
      from = entry.verdict.state;
    }
  }

  /** A decision of the server itself always has a row, however often the node's verdict changes. */
  async hold(
    node: OwnedNode,
    status: NodeStatus,
    verdict: Verdict,
    change: Partial<NodeStatus>,
  ): Promise<void> {
    const held = { ...status, state: verdict.state, verdict, trustedBy: null, ...change };
    const record = changeRecord(held, this.#ports.now(), [verdict], status.state, []);
    await this.commit(node, { record, told: record.history }, status.state);
  }
}
