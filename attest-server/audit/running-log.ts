import type { Logger } from 'pino';
import type { AuditPorts } from '../http/ports.ts';
import { timings } from '../protocol/limits.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { Books } from './audit-log.ts';
import { backUp } from './backup.ts';
import { paced } from './paced.ts';
import type { AuditStore } from './ports.ts';
import type { createRefusalBook } from './refusals.ts';

interface BooksParts {
  readonly store: { readonly audit: AuditStore; backup(path: string): Promise<void> };
  readonly stateDir: string;
  readonly now: () => number;
  readonly metrics: Pick<Metrics, 'refused' | 'checkpointed'>;
  readonly logger: Logger;
  readonly refusalBook: ReturnType<typeof createRefusalBook>;
  readonly fault: (error: unknown, where: string) => void;
}

/** The audit log of a running server: signed in time, shown to agents and the API, and loud where it was changed. */
export interface RunningBooks {
  readonly books: Books;
  readonly ports: AuditPorts;
  /** Holds the log against the checkpoint that an agent's hello brings. */
  meetWitness(node: string, checkpoint: string): Promise<void>;
  /** Signs once more. */
  close(): Promise<void>;
}

/** @throws Error where the store belongs to another key than the one in the state folder */
export async function openBooks(parts: BooksParts): Promise<RunningBooks> {
  const { store, stateDir, now, metrics, logger, refusalBook, fault } = parts;
  const rolledBack = (text: string) => {
    metrics.refused('audit_rollback');
    logger.error({ code: 'audit_rollback', where: 'store' }, text);
  };
  const books = await Books.open({
    store: store.audit,
    stateDir,
    now,
    signed: metrics.checkpointed,
    rolledBack,
  });
  const signing = setInterval(() => {
    books.sign().catch((error: unknown) => fault(error, 'checkpoint'));
  }, timings.checkpointEvery);
  return {
    books,
    ports: {
      entries: (page) => store.audit.entries(page),
      checkpoints: (page) => store.audit.checkpoints(page),
      keys: () => ({ origin: books.origin, keys: books.keys, earlier: books.earlier }),
      // A reader must not make the disk sync as often as he asks.
      sign: paced(timings.signOnDemandEvery, () => books.sign()),
      async rotate(actor) {
        const rotated = await books.rotate(actor);
        logger.warn({ actor, ...rotated }, 'the audit log has a new key');
        return rotated;
      },
      async backup(actor) {
        const made = await backUp(store, stateDir, actor, now());
        logger.info({ actor, ...made }, 'a backup was made');
        return made;
      },
    },
    async meetWitness(node, checkpoint) {
      const text = await books.contradicts(checkpoint);
      if (text === null) return;
      metrics.refused('audit_rollback');
      const event = refusalBook({ code: 'audit_rollback', text, node, address: 'witness' }, now());
      // Whoever has such a checkpoint can say hello with it as often as he likes, in any name.
      logger[event === null ? 'debug' : 'error']({ code: 'audit_rollback', node, where: 'hello' }, text);
      if (event === null) return;
      await store.audit
        .append({ ...event, actor: `agent:${node}`, action: 'audit_rollback' })
        .catch((error: unknown) => fault(error, 'audit'));
    },
    async close() {
      clearInterval(signing);
      await books.sign();
    },
  };
}
