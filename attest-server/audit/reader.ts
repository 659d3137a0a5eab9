import type { AuditEntry } from '../formats/audit.ts';
import type { AuditReaderName, AuditStore } from './ports.ts';

/** Reads the committed audit log in order. A reader continues after the `seq` of its last entry. */
export interface EntryReader {
  /** A page of the entries after this one; empty if there are none yet. */
  next(after: number): Promise<readonly AuditEntry[]>;
  /** The entry; null if there is none of this number. */
  entry(seq: number): Promise<AuditEntry | null>;
  /** `seq` of the latest entry; 0 before the first. */
  head(): Promise<number>;
  /** Calls the listener when there is more to read. @returns stops it */
  onMore(listener: () => void): () => void;
}

/** A reader that goes on, after a restart, where it was. */
export interface AuditReader extends EntryReader {
  /** `seq` of the last entry that this reader is done with; null if it never read, or its position was removed. */
  position(): Promise<number | null>;
  /** @param seq null removes the position */
  setPosition(seq: number | null): Promise<void>;
}

/** Entries of a page, and their approximate bytes. */
interface EntryPage {
  readonly limit: number;
  readonly bytes: number;
}

const page: EntryPage = { limit: 500, bytes: 1024 * 1024 };
/** Hundreds who read at their own pace may hold one each. */
export const smallPage: EntryPage = { limit: 100, bytes: 128 * 1024 };

export function entryReader(
  store: Pick<AuditStore, 'entries' | 'head' | 'onAppend'>,
  { limit, bytes }: EntryPage = page,
): EntryReader {
  return {
    next: (after) => store.entries({ after, limit, bytes }),
    async entry(seq) {
      const [found] = await store.entries({ after: seq - 1, limit: 1 });
      return found?.seq === seq ? found : null;
    },
    head: async () => (await store.head()).size,
    onMore: store.onAppend,
  };
}

export function auditReader(
  store: Pick<AuditStore, 'entries' | 'head' | 'position' | 'setPosition' | 'onAppend'>,
  name: AuditReaderName,
): AuditReader {
  return {
    ...entryReader(store),
    position: () => store.position(name),
    setPosition: (seq) => store.setPosition(name, seq),
  };
}
