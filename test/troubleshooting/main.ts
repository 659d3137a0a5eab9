import { troubleshootingPage } from './page.ts';

// Writes the page anew: node_modules/.bin/node test/troubleshooting/main.ts > docs/troubleshooting.md
process.stdout.write(troubleshootingPage());
