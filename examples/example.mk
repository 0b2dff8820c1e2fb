# What can be done with an example, in its folder: make up, make tell.
NAME := $(notdir $(CURDIR))

.PHONY: up tell
up: ## a shell in the running cluster
	@$(MAKE) --no-print-directory -C ../.. lab EXAMPLE=$(NAME)

tell: ## the story, told from beginning to end
	@$(MAKE) --no-print-directory -C ../.. demo STORIES=$(NAME)
