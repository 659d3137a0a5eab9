import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'mocha';
import { eventLogError, renderEventLog } from '../../../../../attest-server/cli/offline/boot/eventlog.ts';
import { parseEventLog } from '../../../../../attest-server/verify/tpm/event-log.ts';
import { parseUserSpaceLog } from '../../../../../attest-server/verify/tpm/user-space-log.ts';
import { Rejection } from '../../../../../attest-server/wire/rejection.ts';
import { recordedLog } from '../../../../swtpm-fixtures/recorded-log.ts';
import { runAssay } from '../../cli-fixture.ts';

const log = parseEventLog(recordedLog('fedora41-locality-3'));

describe('assay eventlog', () => {
  it('prints one JSON object in the shape of the interface', () => {
    const printed = JSON.parse(renderEventLog(log, 'json'));
    assert.deepEqual(Object.keys(printed), ['format', 'banks', 'startupLocality', 'events', 'notes']);
    assert.equal(printed.startupLocality, 3);
    const { format, banks, startupLocality, events, notes } = log;
    const expected = { format, banks, startupLocality, events, notes };
    assert.deepEqual(printed, JSON.parse(JSON.stringify(expected)));
    const keys = ['index', 'pcr', 'type', 'digests', 'stage', 'describes', 'verified'];
    assert.deepEqual(Object.keys(printed.events[0]), keys);
  });

  it('prints a table with a line for each event and PCR', () => {
    const lines = renderEventLog(log, 'table').split('\n');
    const pcrs = Object.values(log.banks).reduce((count, bank) => count + Object.keys(bank).length, 0);
    const titles = 2 + Object.keys(log.banks).length;
    assert.equal(lines.length, titles + log.events.length + pcrs + log.notes.length + 1);
    for (const [index, { stage, digests, describes }] of log.events.entries())
      for (const told of [stage, digests.sha256?.slice(0, 12) ?? '-', describes.trimEnd()])
        assert(lines[2 + index]?.includes(told), `${told} in line ${2 + index}`);
  });

  it('shows what is unusual beside its event, and once what several events have', async () => {
    const path = new URL('../../../../../swtpm-fixtures/recorded/openpower/', import.meta.url).pathname;
    const cli = await runAssay(['eventlog', `${path}binary_bios_measurements`]);
    const lines = cli.out.split('\n');
    assert.match(lines.find((line) => line.startsWith('16 ')) ?? '', /ffffffff \[retyped_separator\]$/);
    assert.equal(
      lines.filter((line) => line.startsWith('note not_a_separator (events 9 to 15): ')).length,
      1,
    );
  });

  it('adds what user space measured, and what the PCRs hold after it', () => {
    const folder = new URL('../../../../../swtpm-fixtures/recorded/debian13-uki-systemd/', import.meta.url);
    const userSpace = parseUserSpaceLog(readFileSync(new URL('tpm2-measure.log', folder)));
    const held = JSON.parse(readFileSync(new URL('pcrs.json', folder), 'utf8'));
    const booted = parseEventLog(recordedLog('debian13-uki-systemd'));
    const { userspace } = JSON.parse(renderEventLog(booted, 'json', userSpace));
    for (const pcr of [11, 15]) assert.equal(userspace.banks.sha256[pcr], held.sha256[pcr]);
    assert.equal(userspace.events.length, 3);
    assert(renderEventLog(booted, 'table', userSpace).includes(held.sha256[15]));
  });

  it('tells where a log is wrong', () => {
    const error = new Rejection('malformed', 'text', { field: 'eventSize', offset: 7 });
    assert.deepEqual(eventLogError(error), {
      error: { code: 'malformed', offset: 7, field: 'eventSize', text: 'text' },
    });
  });
});
