output "workspace_id" {
  description = "The workspace of logs."
  value       = azurerm_log_analytics_workspace.this.id
}

output "insights_id" {
  description = "Application Insights."
  value       = azurerm_application_insights.this.id
}

output "insights_connection_string" {
  description = "Where metrics go."
  value       = azurerm_application_insights.this.connection_string
  sensitive   = true
}

output "action_group_id" {
  description = "Who is told."
  value       = azurerm_monitor_action_group.people.id
}

output "private_link_scope_ids" {
  description = "What stands for workspace and Application Insights in a closed network; none in an open one."
  value       = azurerm_monitor_private_link_scope.this[*].id

  depends_on = [azurerm_monitor_private_link_scoped_service.all]
}

output "metrics" {
  description = "Metrics of the host that rules and workbook name."
  value       = local.metrics
}

output "alerts" {
  description = "Names of the alerts."
  value       = sort(concat(keys(local.log_rules), keys(local.metric_rules)))
}
