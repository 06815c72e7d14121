"""Commands that run or administer the programs: controller, ELB, console, users, stores, Envoys."""
