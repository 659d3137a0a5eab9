import { type ApiBackOff, isRefusal } from './api-back-off.ts';
import type { NodeToMark } from './judged-node.ts';
import { camelCase, firstSentence } from './marks.ts';
import { ClusterError, type ClusterEvent, type ClusterNode, type ClusterWriter } from './ports.ts';
import { counted, type MarkingReport } from './report.ts';
import { WorkQueue } from './work-queue.ts';

export interface NodeEventsParts {
  readonly writer: Pick<ClusterWriter, 'event'>;
  readonly backOff: ApiBackOff;
  /** Null: the cluster has no Node of that name. */
  readonly nodeOf: (name: string) => ClusterNode | null;
  /** Whether this server may write, and knows of each Node whether it is there. */
  readonly mayWrite: () => boolean;
  readonly report: Pick<MarkingReport, 'acted' | 'failed' | 'fault'>;
}

const workers = 2;
/** Events of one Node that wait to be published. */
const mostEvents = 4;

/** Events on Nodes: each is published once, and lost if that is refused. The resource has the present state. */
export class NodeEvents {
  readonly #parts: NodeEventsParts;
  readonly #waiting = new Map<string, ClusterEvent[]>();
  readonly #queue = new WorkQueue(
    (name) => this.#tell(name),
    () => workers,
  );

  constructor(parts: NodeEventsParts) {
    this.#parts = parts;
  }

  /** Publishes it as soon as possible. */
  note(name: string, event: ClusterEvent): void {
    this.#waiting.set(name, [...(this.#waiting.get(name) ?? []), event].slice(-mostEvents));
    this.#enqueue(name);
  }

  resync(): void {
    for (const name of this.#waiting.keys()) this.#enqueue(name);
  }

  /** @param name none: of all Nodes */
  forget(name?: string): void {
    if (name === undefined) this.#waiting.clear();
    else this.#waiting.delete(name);
  }

  close(): Promise<void> {
    return this.#queue.close();
  }

  idle(): Promise<void> {
    return this.#queue.idle();
  }

  #enqueue(name: string): void {
    const { mayWrite, backOff } = this.#parts;
    if (mayWrite() && backOff.isOpen('events')) this.#queue.add(name);
  }

  async #tell(name: string): Promise<void> {
    const { nodeOf, mayWrite, writer, backOff, report } = this.#parts;
    const node = nodeOf(name);
    if (node === null || !mayWrite()) return;
    while (backOff.isOpen('events')) {
      const [event, ...rest] = this.#waiting.get(name) ?? [];
      if (event === undefined) return this.forget(name);
      this.#waiting.set(name, rest);
      try {
        await counted(report, ['event'], () => writer.event(node, event));
        backOff.answered('events');
      } catch (error) {
        if (!(error instanceof ClusterError)) report.fault(error, `an Event on ${name}`);
        else {
          report.failed(error, name);
          if (!isRefusal(error)) backOff.failed('events', error, null);
        }
      }
    }
  }
}

export function transitionEvent({ state, code, text }: NodeToMark): ClusterEvent {
  const message = text === null ? `The node is ${state}.` : firstSentence(text);
  return {
    type: state === 'untrusted' ? 'Warning' : 'Normal',
    reason: camelCase(state === 'trusted' ? 'trusted' : (code ?? state)),
    message: `${state}: ${message}`,
  };
}

export const tamperEvent: ClusterEvent = {
  type: 'Warning',
  reason: camelCase('label_tamper'),
  message: 'Somebody changed the marks of Assay on this Node; they are put back as the verdict says.',
};

export function addressEvent(address: string): ClusterEvent {
  return {
    type: 'Warning',
    reason: camelCase('key_to_new_address'),
    message: `The key of its disk went to ${address}, to which no key of this node went before.`,
  };
}
