import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'mocha';
import { Progress } from '../../../agent/health/progress.ts';

const minute = 60_000;

describe('how far an agent has come', () => {
  let time: number;
  let progress: Progress;
  beforeEach(() => {
    time = 0;
    progress = new Progress(
      () => time,
      () => 1_700_000_000_000,
    );
  });
  const state = () => {
    const { isAlive, isReady } = progress.look();
    return `${isAlive ? 'alive' : 'dead'} ${isReady ? 'ready' : 'not ready'}`;
  };

  it('is alive without a server for as long as it tries again, and never ready', () => {
    for (let tried = 0; tried < 60; tried++) {
      time += minute;
      progress.moved();
      progress.disconnected('connect_failed');
      assert.equal(state(), 'alive not ready');
    }
    assert.match(progress.look().text, /connect_failed/);
  });

  it('is ready from the verdict to the end of the connection, whatever the verdict', () => {
    progress.moved();
    assert.equal(state(), 'alive not ready');
    progress.judged();
    time += 9 * minute;
    progress.moved();
    time += 9 * minute;
    assert.equal(state(), 'alive ready');
    assert.match(progress.look().text, /2023-11-14T22:13:20/);
    progress.disconnected('closed');
    assert.equal(state(), 'alive not ready');
  });

  it('is dead where no step came for longer than any step takes, connected or not', () => {
    for (const step of [() => progress.judged(), () => progress.disconnected('closed')]) {
      step();
      time += 10 * minute;
      assert.match(state(), /^alive/);
      time += 1;
      assert.equal(state(), 'dead not ready');
    }
  });

  it('is ready without a TPM while the server says that it knows', () => {
    progress.withoutTpm();
    progress.disconnected('unsupported_tpm');
    assert.equal(state(), 'alive ready');
    time += 3 * minute;
    assert.equal(state(), 'alive not ready');
  });
});
