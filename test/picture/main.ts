import { whyPicture } from './why.ts';

// Writes the picture in README.md anew: node_modules/.bin/node test/picture/main.ts > docs/why.svg
process.stdout.write(await whyPicture());
