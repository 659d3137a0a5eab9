import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { preparePrivateFolder } from '../../../attest-server/state/private-file.ts';
import { ensureIdentity, tlsFolder } from '../../../attest-server/tls/identity.ts';
import { madeInTurn } from '../../../swtpm-fixtures/made-once.ts';

const files = ['ca.crt', 'ca.key', 'server.crt', 'server.key'];

/** Has an authority and a certificate of these names in a state folder, as a server finds them that starts again. */
export async function putIdentity(stateDir: string, names: readonly string[]): Promise<void> {
  const dir = tlsFolder(stateDir);
  if (existsSync(dir)) return;
  preparePrivateFolder(dir);
  await madeInTurn(`identity-${hash('sha256', names.join())}`, 16, files, dir, async () => {
    await ensureIdentity(stateDir, names, Date.now());
  });
}
