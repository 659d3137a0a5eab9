import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { PartialImages } from '../../../../attest-server/attest/supplements/partial-images.ts';

describe('images of which a part came', () => {
  it('give way to another one where nobody sends them, and only then where somebody does', () => {
    const closed: string[] = [];
    let next = '';
    const images = new PartialImages({
      reader() {
        const name = next;
        return {
          push: async () => {},
          end: () => assert.fail('nothing ends'),
          close: () => void closed.push(name),
        };
      },
      uploads: 2,
      monotonic: () => 0,
    });
    const sent = new Set<string>();
    const begin = (digest: string) => {
      next = digest;
      sent.add(digest);
      images.of(`node-of-${digest}`, digest, (each) => sent.has(each));
    };
    begin('slow');
    begin('given up');
    sent.delete('given up');
    begin('third');
    assert.deepEqual(closed, ['given up']);
    begin('fourth');
    assert.deepEqual(closed, ['given up', 'slow']);
    images.close();
  });
});
