import { chainEntry } from '../../../attest-server/audit/chain.ts';
import { openStore, type Store, type StoreOptions } from '../../../attest-server/store/open.ts';

/** A store as a server opens it, whose faults nobody is told of unless `change` says who is. */
export function openMadeStore(path: string, change: Partial<StoreOptions> = {}): Promise<Store> {
  return openStore(path, {
    chain: chainEntry,
    onUnreadable() {},
    watch: { failed() {}, isFull: () => false, isLow: () => false },
    ...change,
  });
}
