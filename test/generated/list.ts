import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { eventMessage } from '../../attest-server/formats/event.ts';
import { chartFiles } from '../manifests/chart-files.ts';
import { withPrivileges } from '../manifests/privilege-page.ts';
import { baseFiles } from '../manifests/rendered-base.ts';
import { whyPicture } from '../picture/why.ts';
import { troubleshootingPage } from '../troubleshooting/page.ts';
import { apiPage } from './api-page.ts';
import { withCommands } from './commands-page.ts';
import { exitCodesPage } from './exit-codes-page.ts';
import { readHelpPages } from './help-pages.ts';
import { jsonText } from './json-text.ts';
import { manualPages } from './manual-pages.ts';
import { schemaFiles } from './schemas.ts';
import { settingsPage } from './settings-page.ts';

/** Texts by their paths in this tree; null where a file is to go. */
export type GeneratedFiles = ReadonlyMap<string, string | null>;

/** Makes files that follow from what is said elsewhere. */
export interface Generator {
  readonly name: string;
  readonly needsHelm: boolean;
  readonly make: () => Promise<GeneratedFiles>;
}

/** In the order in which they are written: the chart takes in schemas, and the last two are rendered from the chart. */
export const generators: readonly Generator[] = [
  { name: 'the schemas of settings and policies', needsHelm: false, make: schemaFiles },
  { name: 'the schema of events', needsHelm: false, make: eventSchema },
  { name: 'the page of settings', needsHelm: false, make: page('reference-configuration.md', settingsPage) },
  { name: 'the page of commands, and the manual pages', needsHelm: false, make: commandPages },
  { name: 'the page of exit codes', needsHelm: false, make: page('reference-exit-codes.md', exitCodesPage) },
  { name: 'the page of the API', needsHelm: false, make: page('reference-api.md', apiPage) },
  {
    name: 'the page of reason codes',
    needsHelm: false,
    make: page('troubleshooting.md', troubleshootingPage),
  },
  { name: 'the picture', needsHelm: false, make: page('why.svg', whyPicture) },
  { name: 'what the chart takes in', needsHelm: false, make: chartFiles },
  { name: 'manifests/base', needsHelm: true, make: baseFiles },
  { name: 'the tables of privileges', needsHelm: true, make: page('privileges.md', privilegesPage) },
];

function page(name: string, text: () => string | Promise<string>): Generator['make'] {
  return async () => new Map([[`docs/${name}`, await text()]]);
}

async function eventSchema(): Promise<GeneratedFiles> {
  const file = 'docs/events.schema.json';
  return new Map([[file, await jsonText(file, z.toJSONSchema(eventMessage, { io: 'input' }))]]);
}

async function commandPages(): Promise<GeneratedFiles> {
  const all = await readHelpPages();
  const file = 'docs/reference-commands.md';
  const page = await readFile(join(import.meta.dirname, '../..', file), 'utf8');
  return new Map([[file, withCommands(page, all)], ...manualPages(all)]);
}

async function privilegesPage(): Promise<string> {
  return withPrivileges(await readFile(join(import.meta.dirname, '../../docs/privileges.md'), 'utf8'));
}
