import { openSqliteStore, type SqliteStoreOptions } from './sqlite-store.ts';
import type { Store } from './store.ts';

/** @throws Error where the file or its folder is open to others, of a newer version, or no store */
export async function openStore(path: string, options: SqliteStoreOptions): Promise<Store & AsyncDisposable> {
  const store = await openSqliteStore(path, options);
  return { ...store, [Symbol.asyncDispose]: () => store.close() };
}
