#!/bin/sh
echo "$#"
for a in "$@"; do echo "[$a]"; done
