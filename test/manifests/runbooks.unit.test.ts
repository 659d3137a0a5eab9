import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommanderError } from 'commander';
import { before, describe, it } from 'mocha';
import { reasonCodes } from '../../attest-server/wire/reasons.ts';
import { callsIn, idleProgram } from '../attest-server/cli/idle-program.ts';
import { type AlertRule, readRules } from './promtool.ts';

const docs = join(import.meta.dirname, '..', '..', 'docs');
const read = (file: string) => readFileSync(join(docs, file), 'utf8');
const headings = ['What it means', 'How urgent', 'What to look at', 'What to do', 'How to silence it'];
/** What else a page may have a person type. */
const programs = ['assay', 'kubectl', 'journalctl', 'systemctl', 'curl'];

describe('the runbooks', () => {
  let rules: readonly AlertRule[] = [];
  before(async () => {
    rules = await readRules();
  });
  const pages = readdirSync(join(docs, 'runbooks')).sort();

  it('are one for each alert, which names it, and none besides', () => {
    assert.deepEqual(pages, rules.map(({ alert }) => `${alert}.md`).sort());
    for (const { alert, annotations } of rules)
      assert.equal(annotations.runbook_url, `docs/runbooks/${alert}.md`);
  });

  it('are beside the page of the code, where an alert has one', () => {
    const codes = rules.filter(({ annotations }) => annotations.summary.includes('{{ $labels.code }}'));
    assert.ok(codes.length > 5);
    for (const { alert, annotations } of rules)
      assert.equal(
        annotations.code_url,
        codes.some((one) => one.alert === alert) ? 'docs/troubleshooting.md#{{ $labels.code }}' : undefined,
        alert,
      );
    // Codes of what is not built yet are rows of a table there, which no server sends.
    const page = read('troubleshooting.md');
    for (const code of reasonCodes)
      assert.ok(page.includes(`\n### ${code}\n`) || page.includes(`\n| \`${code}\` |`), code);
  });

  it('have each alert in the table of docs/watching.md, with its severity and how long it waits', () => {
    const rows = [...read('watching.md').matchAll(/^\| \[(\w+)\]\((\S+)\) \| (\w+) \| ([^|]+) \|/gm)];
    assert.deepEqual(
      rows.map(([, ...cells]) => cells),
      rules.map(({ alert, labels, for: after }) => [
        alert,
        `runbooks/${alert}.md`,
        labels.severity,
        after === '0m' ? 'at once' : after,
      ]),
    );
  });

  for (const page of pages) {
    const text = read(`runbooks/${page}`);
    const rule = () => rules.find(({ alert }) => `${alert}.md` === page) ?? assert.fail(page);

    it(`${page} says what it means, how urgent it is, what to look at, what to do, and how to silence it`, () => {
      const [title = '', ...sections] = text.split(/^## /m);
      assert.equal(title.trim(), `# ${page.slice(0, -3)}`);
      const found = sections.map((section) => section.split('\n', 1)[0]);
      assert.deepEqual(found, headings);
      for (const section of sections) assert.ok(section.split('\n').slice(1).join('').trim().length > 10);
      assert.ok(sections[1]?.includes(`\`${rule().labels.severity}\`. `), 'its severity');
    });

    it(`${page} has commands that are there`, async () => {
      const [, looks = ''] = /^## What to look at$([\s\S]*?)^## /m.exec(text) ?? [];
      const typed = [...looks.matchAll(/^\| `([^`]+)` \|/gm)].map(([, line = '']) => line);
      assert.ok(typed.length > 0);
      for (const line of typed) {
        assert.ok(programs.includes(line.split(' ')[0] ?? ''), line);
        await assertTaken(line, []);
      }
      for (const [, line = ''] of text.matchAll(/`(assay [^`]+)`/g)) await assertTaken(line, leftOut);
      const { command } = rule().annotations;
      if (command !== undefined) await assertTaken(command.replace(/\{\{.*?\}\}/g, 'node-2'), []);
    });

    it(`${page} silences this alert alone, by labels that it has`, () => {
      const commands = [...text.matchAll(/^amtool silence add (.*)$/gm)].map(([, words = '']) => words);
      assert.equal(commands.length, 1);
      const words = (commands[0] ?? '').replace(/--comment="[^"]*"/, '').split(/\s+/);
      const matchers = words.filter((word) => !word.startsWith('--')).map((word) => word.split('='));
      const { alert, expr, annotations } = rule();
      const of = `${expr} ${Object.values(annotations).join(' ')}`;
      for (const [label = '', value = ''] of matchers) {
        if (label === 'alertname') assert.equal(value, alert);
        else assert.ok(label === 'instance' || new RegExp(`\\b${label}\\b`).test(of), label);
      }
      assert.equal(matchers[0]?.[0], 'alertname');
    });
  }

  it('would be told of a command that is none', async () => {
    for (const line of ['assay why', 'assay nothing', 'assay why --nothing node-2'])
      await assert.rejects(assertTaken(line, []), line);
    await assertTaken('assay why', leftOut);
    await assert.rejects(assertTaken('assay nothing', leftOut));
  });
});

describe('the alert rules', () => {
  it('each say how urgent they are, and those of a node name node, code and what to type', async () => {
    for (const { alert, expr, annotations } of await readRules()) {
      if (!/node_(reason_info|state)\{|node_trusted|node_without_agent\b/.test(expr)) continue;
      if (/unless on \(instance\)/.test(expr)) continue;
      if (alert === 'AssayMassFailure') continue;
      assert.match(annotations.summary, /\{\{ \$labels\.node \}\}/, alert);
      assert.match(annotations.command ?? '', /\{\{ \$labels\.node \}\}/, alert);
      if (expr.startsWith('assay_node_reason_info'))
        assert.match(annotations.summary, /\$labels\.code/, alert);
    }
  });
});

/** In prose a command may be named without what follows it. */
const leftOut = ['commander.missingArgument', 'commander.missingMandatoryOptionValue'];

async function assertTaken(line: string, excused: readonly string[]): Promise<void> {
  for (const words of callsIn(line)) {
    const ran: string[] = [];
    try {
      await idleProgram(ran).parseAsync([...words], { from: 'user' });
      assert.equal(ran.length, 1, line);
    } catch (error) {
      if (!(error instanceof CommanderError) || !excused.includes(error.code)) throw error;
    }
  }
}
