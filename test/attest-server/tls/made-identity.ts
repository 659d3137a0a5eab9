import { hash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { openCustody } from '../../../attest-server/custody/open.ts';
import { preparePrivateFolder } from '../../../attest-server/state/private-file.ts';
import { ensureIdentity, type ServerIdentity, tlsFolder } from '../../../attest-server/tls/identity.ts';
import { madeInTurn } from '../../../swtpm-fixtures/made-once.ts';

const files = ['ca.crt', 'ca.key', 'server.crt', 'server.key'];

/** Has an authority and a certificate of these names in a state folder, as a server finds them that starts again. */
export async function putIdentity(stateDir: string, names: readonly string[]): Promise<void> {
  const dir = tlsFolder(stateDir);
  if (existsSync(dir)) return;
  preparePrivateFolder(dir);
  await madeInTurn(`identity-${hash('sha256', names.join())}`, 16, files, dir, async () => {
    await identityIn(stateDir, names, Date.now());
  });
}

/** Authority and certificate of this state folder, as a server reads or makes them. */
export function identityIn(stateDir: string, names: readonly string[], now: number): Promise<ServerIdentity> {
  return ensureIdentity(stateDir, openCustody(stateDir, stateDir).tls, names, now);
}
