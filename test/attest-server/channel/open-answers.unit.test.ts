import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, it } from 'mocha';
import { bounds } from '../../../attest-server/channel/bounds.ts';
import { OpenAnswer, OpenAnswers } from '../../../attest-server/channel/open-answers.ts';

const { piece, grace } = bounds.openAnswers;
const root = join(import.meta.dirname, '../../..');

describe('bytes of all answers that are open', () => {
  let now = 0;
  let all: OpenAnswers;
  let ended: string[];
  beforeEach(() => {
    [now, ended] = [0, []];
    all = new OpenAnswers(() => now, 100_000);
  });

  function connect(node: string, name = node): OpenAnswer {
    const answer = new OpenAnswer();
    const giveWay = () => {
      ended.push(name);
      answer.end();
    };
    answer.count(all.enter(node, giveWay));
    return answer;
  }
  const sends = (answer: OpenAnswer, bytes: number) => {
    answer.came(bytes + (bytes < 65_536 ? 8 : 14));
    answer.frame(bytes, true);
  };

  it('are within a bound for all: the node with the most of them gives way, by what all its connections have (row 369)', () => {
    const [agent, gate] = [connect('node-1', 'agent'), connect('node-1', 'gate')];
    sends(agent, 30_000);
    sends(gate, 25_000);
    const other = connect('node-2');
    sends(other, 40_000);
    assert.deepEqual([ended, all.bytes], [[], 95_000]);
    sends(other, 4_990);
    assert.deepEqual([ended, all.bytes < 100_000], [['agent'], true]);
  });

  it('weigh by their time: who sends much and is done stays beside those who let less lie', () => {
    const slow = [1, 2, 3].map((which) => connect(`slow-${which}`));
    for (const each of slow) sends(each, 20_000);
    now += 30 * grace;
    const quick = connect('quick');
    sends(quick, 50_000);
    assert.deepEqual(ended, ['slow-1']);
  });

  it('count from the first byte of a frame, with what each piece of it takes, and until they are being judged', () => {
    const answer = connect('node');
    for (let count = 0; count < 10; count++) answer.came(100);
    assert.equal(all.bytes, 1_000 + 10 * piece);
    answer.frame(1_000 - 8, true);
    assert.equal(all.bytes, 992);
    answer.forget();
    answer.came(500);
    assert.equal(all.bytes, 500 + piece);
    answer.frame(492, true);
    answer.forget();
    assert.equal(all.bytes, 0);
  });

  it('are none of pings, and of an answer that is given up', () => {
    const answer = connect('node');
    for (let count = 0; count < 1_000; count++) {
      answer.came(131);
      answer.frame(125, false);
    }
    assert.equal(all.bytes, 0);
    sends(answer, 70_000);
    answer.forget();
    assert.equal(all.bytes, 0);
  });
});

describe('the pages that say what answers under way may take', () => {
  const read = (page: string) => readFileSync(join(root, page), 'utf8');
  const all = `${bounds.openAnswers.bytes / 1024 ** 2} MiB`;
  for (const [page, said] of [
    ['docs/connections.md', `take ${all}: enough for all long answers`],
    ['docs/connections.md', `- ${bounds.longAnswers} nodes at a time may send so much`],
    ['docs/sizing.md', `8 MiB for each of ${bounds.longAnswers} nodes at a time`],
    ['docs/sizing.md', `[${all} of all answers]`],
    ['docs/watching.md', `[${all} at most](connections.md#answers-under-way)`],
    ['manifests/prometheus/dashboard.json', `that is not judged yet: ${all} at most`],
  ] as const)
    it(`have the bounds in force: ${page}, ${said}`, () => {
      assert.ok(read(page).includes(said));
    });
});
