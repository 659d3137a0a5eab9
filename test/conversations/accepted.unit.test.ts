import assert from 'node:assert/strict';
import { describe, it } from 'mocha';
import { type Conversation, type Release, readRefusedRelease, readReleases } from './recording.ts';

const releases = [readRefusedRelease(), ...readReleases()];

const wholeConversation = 'hello activate activated challenge evidence verdict changed trusts error'.split(
  ' ',
);

/** The messages of one side, as they stand in all conversations. */
function messagesOf(
  release: Release,
  side: 'agent' | 'server',
): readonly Readonly<Record<string, unknown>>[] {
  const texts = ({ steps }: Conversation) =>
    steps.flatMap((each) => (each.kind === 'text' && each.from === side ? [each.text] : []));
  return [...release.conversations.values()].flatMap(texts).map((text) => JSON.parse(text));
}

describe('the schemas of what each release takes', () => {
  for (const release of releases) {
    const { fromAgent, fromServer } = release.accepted;
    const isTaken = { agent: fromAgent, server: fromServer };
    for (const side of ['agent', 'server'] as const)
      it(`take what the ${side} of ${release.version} says`, () => {
        const messages = messagesOf(release, side);
        assert(messages.length > 0);
        for (const message of messages)
          assert(isTaken[side].safeParse(message).success, JSON.stringify(message));
      });

    it(`are of a release (${release.version}) of which the whole conversation was recorded`, () => {
      const kinds = new Set(
        (['agent', 'server'] as const).flatMap((side) => messagesOf(release, side)).map(({ type }) => type),
      );
      assert.deepEqual(
        wholeConversation.filter((type) => !kinds.has(type)),
        [],
      );
    });
  }

  it('of 0.1.0 are as narrow as that version: no other member, no other code, no other message', () => {
    const release = readRefusedRelease();
    const { fromAgent, fromServer } = release.accepted;
    for (const [side, schema] of [
      ['agent', fromAgent],
      ['server', fromServer],
    ] as const)
      for (const message of messagesOf(release, side))
        for (const member of ['speaks', 'parts'])
          assert(!schema.safeParse({ ...message, [member]: [] }).success, `${message.type} ${member}`);
    const verdict = { type: 'verdict', state: 'untrusted', codes: ['kernel_unknown'] };
    assert(fromServer.safeParse(verdict).success);
    assert(!fromServer.safeParse({ ...verdict, codes: ['code_of_later'] }).success);
    assert(!fromServer.safeParse({ type: 'key-release' }).success);
  });
});
