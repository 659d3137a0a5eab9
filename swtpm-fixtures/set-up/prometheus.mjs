import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { unpackPrograms } from './unpacked.mjs';

/** Unpacks Prometheus and Alertmanager. The one scrapes a server of the tests, the other tells a receiver of its alerts. */
export function unpackPrometheus(root) {
  return unpackPrograms(root, {
    name: 'prometheus',
    why: 'tests of the alerts start them',
    programs: {
      prometheus: ['usr/bin/prometheus'],
      'prometheus-alertmanager': ['usr/bin/prometheus-alertmanager', 'usr/bin/amtool'],
    },
    finish(all, ready) {
      cpSync(join(all, templates.installed), join(ready, templates.unpacked), { recursive: true });
      moveTemplates(join(ready, 'prometheus-alertmanager'));
    },
  });
}

/** Where Alertmanager's program has its templates; both paths are of one length. The second is below the folder that it runs in. */
const templates = {
  installed: '/usr/share/prometheus/alertmanager',
  unpacked: './././././././././././alertmanager',
};

/** Debian's program has no setting for this path: it is replaced where the program holds it. */
function moveTemplates(program) {
  const bytes = readFileSync(program);
  let at = bytes.indexOf(templates.installed);
  if (at === -1) throw new Error(`${program} has its templates elsewhere: fix moveTemplates`);
  for (; at !== -1; at = bytes.indexOf(templates.installed, at)) bytes.write(templates.unpacked, at);
  writeFileSync(program, bytes);
}
