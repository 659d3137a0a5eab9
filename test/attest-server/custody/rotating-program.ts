// Changes the keys of this folder again and again, as a server does, until its input ends.
import { openCustody } from '../../../attest-server/custody/open.ts';

const [keysDir = '', stateDir = ''] = process.argv.slice(2);
const { audit, tls } = openCustody(keysDir, stateDir);
let isOver = false;
process.stdin.once('end', () => {
  isOver = true;
});
process.stdin.resume();
let rounds = 0;
while (!isOver) {
  await audit.rotate();
  if (!((await tls.prepareNext()) && (await tls.putNextInForce()) && (await tls.dropPrevious())))
    throw new Error('somebody else changes the authorities');
  rounds += 1;
}
process.stdout.write(String(rounds));
