import { join } from 'node:path';
import { preparePrivateFolder } from '../../../attest-server/state/private-file.ts';
import { ensureIdentity } from '../../../attest-server/tls/identity.ts';
import { madeOnce } from '../../../swtpm-fixtures/made-once.ts';

const files = ['ca.crt', 'ca.key', 'server.crt', 'server.key'];

/**
 * Puts an authority and a certificate of these names into a state folder that is new, as a server finds them that starts again.
 * @param name under which the tests of one run share them
 */
export async function putIdentity(stateDir: string, name: string, names: readonly string[]): Promise<void> {
  const dir = join(stateDir, 'tls');
  preparePrivateFolder(dir);
  await madeOnce(name, files, dir, async () => {
    await ensureIdentity(stateDir, names, Date.now());
  });
}
